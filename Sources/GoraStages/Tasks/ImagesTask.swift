import GoraCore
import GoraFormats
import GoraText

/// Which of its classes a model takes each image for (`ImagesDriver`).
package struct ImagesTask: EvalTask {
  package static let name = "images"
  package static let metrics = ["accuracy", "loss"]
  package static let options: Set<TaskOption> = [.classes, .templates]

  package init(_ answering: Answering) {}

  /// Refuses the task, and options of images, beside a model of texts.
  static func refuse(_ configuration: EvalStage.Configuration, modelType: String) throws(GoraError) {
    try configuration.data.refuseImages(modelType: modelType)
    if configuration.task is ImagesTask.Type {
      throw GoraError(.usage, "--task \(name) needs a model of images; this one is \(modelType)", hint: "such as clip")
    }
  }

  /// - Parameters:
  ///   - confusion: images of each class [classes] that were taken for each [classes].
  ///   - loss: mean over the images.
  func outcome(classes: [String], templates: [String], confusion: [[Int]], loss: Double) -> TaskOutcome {
    let total = confusion.reduce(0) { $0 + $1.reduce(0, +) }
    let correct = confusion.indices.reduce(0) { $0 + confusion[$1][$1] }
    let accuracy = Double(correct) / Double(max(1, total))
    let interval = wilsonInterval(successes: correct, of: total)
    let range = "\(NumberText.fixed(interval.lowerBound * 100, 1)) to \(NumberText.fixed(interval.upperBound * 100, 1))"
    let perClass = classes.indices.map { index -> JSON in
      let rows = confusion[index].reduce(0, +)
      return .object([
        "class": JSON(classes[index]), "rows": JSON(rows), "correct": JSON(confusion[index][index]),
        "accuracy": rows == 0 ? nil : JSON(Double(confusion[index][index]) / Double(rows)),
      ])
    }
    return TaskOutcome(
      values: [("accuracy", accuracy), ("loss", loss)],
      members: [
        .init("accuracy", JSON(accuracy)), .init("correct", JSON(correct)),
        .init("interval", JSON([JSON(interval.lowerBound), JSON(interval.upperBound)])), .init("loss", JSON(loss)),
        .init("classes", JSON(perClass)), .init("confusion", JSON(confusion.map { row in JSON(row.map { JSON($0) }) })),
        .init("templates", JSON(templates.map { JSON($0) })),
      ],
      line: "accuracy \(NumberText.fixed(accuracy * 100, 2)) % (\(correct) of \(total); 95 %: \(range)), "
        + "\(classes.count) classes, loss \(NumberText.fixed(loss, 4))")
  }
}
