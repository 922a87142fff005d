import GoraCore
import GoraModels
import GoraText

/// Rows to learn or to measure, of the kind that the model takes.
enum RowSource {
  case text(LoadedText, LoadedModel)
  case images(ImageReader)

  /// Opens tokenizer and templates; a model that tells images apart is told the classes.
  init(_ loaded: LoadedModel, options: DataOptions, events: EventHandler) throws(GoraError) {
    if let model = loaded.model as? CLIPModel {
      // What the classes' texts give is computed here.
      try model.quantize()
      self = .images(try ImageReader(model, files: loaded.files, options: options, events: events))
    } else {
      try options.refuseImages(modelType: loaded.config.modelType)
      let text = try LoadedText(files: loaded.files, config: loaded.config, options: options)
      if let date = text.date { events(.note("the chat template may write the date; SOURCE_DATE_EPOCH=\(date) repeats it")) }
      self = .text(text, loaded)
    }
  }

  func rows(_ options: DataOptions, events: EventHandler) throws(GoraError) -> [EncodedRow] {
    switch self {
    case .images(let reader): return try reader.rows(options, events: events)
    case .text(let text, let loaded):
      let data = try text.read(options, vocabularySize: loaded.config.vocabularySize, files: loaded.files, events: events)
      return try text.encode(data, options: options, events: events)
    }
  }

  /// What chat templates took for the present; nil where they do not ask.
  var date: Int? { if case .text(let text, _) = self { text.date } else { nil } }

  /// Of the tokenizer; nil where rows are token ids.
  var fingerprint: String? {
    switch self {
    case .images(let reader): reader.tokenizer.fingerprint
    case .text(let text, _): text.tokenizer?.fingerprint
    }
  }
}

extension DataOptions {
  /// Refuses options of images for a model of texts.
  func refuseImages(modelType: String) throws(GoraError) {
    for (name, value) in [("--classes", classes), ("--templates", templates)] where value != nil {
      throw GoraError(.usage, "\(name) goes with models of images; this one is \(modelType)")
    }
  }
}
