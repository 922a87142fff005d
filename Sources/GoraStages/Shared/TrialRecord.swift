import GoraCore
import GoraFormats
import GoraReport
import GoraTraining

/// The trials of `--lr auto` as JSON: in a checkpoint, so that none is made twice; in the log; in the record of the run.
struct TrialRecord {
  /// Of one trial; `loss` is null where it was out.
  static func json(_ trial: RateSearch.Trial) -> JSON {
    var members = [JSON.Member("lr", JSON(trial.setting.lr))]
    if let ratio = trial.setting.ratio { members.append(JSON.Member("lr_ratio", JSON(ratio))) }
    members.append(JSON.Member("steps", JSON(trial.setting.steps)))
    members.append(JSON.Member("loss", trial.loss.map { JSON($0) } ?? nil))
    return JSON(.object(members))
  }

  /// A trial for a picture; nil where it is none that `json` gives.
  static func reported(_ json: JSON) -> RateSearchRecord.Trial? {
    guard let rate = json["lr"]?.number, case .integer(let steps)? = json["steps"]?.content else { return nil }
    return RateSearchRecord.Trial(rate: rate, ratio: json["lr_ratio"]?.number, steps: steps, loss: json["loss"]?.number)
  }

  static func text(_ trials: [RateSearch.Trial]) -> String { JSON(trials.map(json)).compact() }

  /// - Parameter path: of the checkpoint that it stands in, for messages.
  /// - Throws: status 65 where it is none that `text` gives.
  static func trials(_ text: String, path: String) throws(GoraError) -> [RateSearch.Trial] {
    if text.isEmpty { return [] }
    let document = try JSONDocument(path: "\(path) (trials)", text: Array(text.utf8))
    var trials: [RateSearch.Trial] = []
    for element in try document.root.elements {
      let setting = RateSearch.Setting(
        lr: try element.required("lr").double, ratio: try element.optional("lr_ratio")?.double,
        steps: try element.required("steps").int)
      trials.append(RateSearch.Trial(setting: setting, loss: try element.optional("loss")?.double))
    }
    return trials
  }
}
