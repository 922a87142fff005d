import GoraCore
import GoraFormats
import GoraModels
import GoraText

/// model + data → the first rows as gora-grad, gora-train and gora-eval give them to the model. No weight is read.
package struct ShowRowsStage {
  package struct Configuration: Sendable {
    /// The checkpoint; beside `config` the folder of the tokenizer.
    package var model: String
    /// A config.json in place of the checkpoint's.
    package var config: String?
    package var data: DataOptions
    /// Rows to show.
    package var count: Int
    /// Prompts that are answered, in place of rows that are learnt or measured.
    package var answers = false

    package init(model: String, data: DataOptions, count: Int) {
      self.model = model
      self.data = data
      self.count = count
    }
  }

  private let configuration: Configuration

  package init(_ configuration: Configuration) { self.configuration = configuration }

  /// Calls `body` with one row after the other, in the order of the files.
  ///
  /// - Throws: status 65 for a row that cannot be read, or that its template cannot write, unless such are skipped; what the model's and the
  ///   tokenizer's files throw; what `body` throws.
  package func run(events: EventHandler, _ body: (ShownRow) throws(GoraError) -> Void) throws(GoraError) {
    let c = configuration
    let files = try CheckpointFiles(c.model)
    let document: JSONDocument
    if let path = c.config {
      document = try JSONDocument(path: path, text: readWholeFile(path))
    } else {
      document = try files.config
    }
    let config = try ModelFamilies.config(reading: document)
    guard !(config is CLIPConfig) else {
      throw GoraError(.usage, "--show-rows shows texts; a clip model sees images")
    }
    let text = try LoadedText(files: files, config: config, options: c.data)
    let data = try text.read(c.data, vocabularySize: config.vocabularySize, files: files, events: events)
    if c.answers {
      let ends = try text.endTokens(for: data.rows)
      let names = ends.map { "\"\(text.tokenizer?.token($0) ?? "")\" (\($0))" }
      events(.information("an answer ends at \(names.joined(separator: " or "))"))
    }
    for (row, place) in zip(data.rows, data.places).prefix(c.count) {
      let shown: ShownRow
      do throws(GoraError) {
        if c.answers { shown = try text.shownPrompt(row, place: place) } else { shown = try text.shown(row, place: place) }
      } catch {
        guard c.data.skipsBadRows, error.status == .data else { throw error }
        events(.warning("bad row skipped: \(error)"))
        continue
      }
      try body(shown)
    }
  }
}
