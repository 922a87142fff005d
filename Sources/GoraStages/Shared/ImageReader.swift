import GoraCore
import GoraFormats
import GoraImages
import GoraModels
import GoraText

/// What makes rows of image files for a model that tells classes apart; it has told the model what the classes are.
struct ImageReader {
  let classes: ImageClasses
  let templates: [String]
  let tokenizer: Tokenizer
  private let processor: ImageProcessor
  private let config: CLIPConfig

  /// - Parameters:
  ///   - model: takes in the classes' texts.
  ///   - options: whose images decide the classes where `--classes` does not.
  init(_ model: CLIPModel, files: CheckpointFiles, options: DataOptions, events: EventHandler) throws(GoraError) {
    if options.template != nil {
      throw GoraError(.usage, "--template wraps rows of text; a clip model sees images", hint: "--templates names classes' texts")
    }
    if options.glue != nil { throw GoraError(.usage, "--glue is of texts; a clip model sees images") }
    if options.learning != .answers { throw GoraError(.usage, "--learn is of texts; a clip model sees images") }
    config = model.config
    processor = try Self.processor(files, side: config.imageSize, events)
    guard let tokenizer = try Tokenizer(of: files) else {
      throw GoraError(
        .noInput, at: .file(files.place("tokenizer.json")), "missing; the texts of the classes cannot be read without it")
    }
    self.tokenizer = tokenizer
    classes = try ImageClasses(of: ImageList(options.paths), given: options.classes.map(Self.classes))
    templates = try options.templates.map(Self.templates) ?? ImageClassSet.standardTemplates
    var texts: [[[Int32]]] = []
    for name in classes.names {
      var rows: [[Int32]] = []
      for template in templates {
        let text = template.replacing(ImageClassSet.place, with: name)
        let ids = tokenizer.encode(text, addSpecialTokens: true)
        guard ids.count <= config.textPositions, let largest = ids.max(), largest < config.vocabularySize else {
          throw GoraError(
            .data, at: .file(files.place("tokenizer.json")),
            "the text \"\(text)\" has \(ids.count) tokens; the model takes 1 to \(config.textPositions), of \(config.vocabularySize) ids"
          )
        }
        guard config.largestIdPools || ids.contains(config.eosToken) else {
          throw GoraError(
            .data, at: .file(files.place("tokenizer.json")),
            "the text \"\(text)\" has no end token, id \(config.eosToken) of config.json, whose state stands for the text",
            hint: "the post-processor must put it behind texts")
        }
        rows.append(ids)
      }
      texts.append(rows)
    }
    model.setClasses(texts)
    let more = templates.count > 1 ? " and \(templates.count - 1) more" : ""
    events(
      .information(
        "\(classes.names.count) classes \(classes.explanation), each the mean of \"\(templates[0])\"\(more); "
          + "images as Pillow resizes them"))
    events(.note("images: \(processor.description)"))
  }

  /// preprocessor_config.json's, or that of a processor's file; CLIP's own where there is none.
  private static func processor(
    _ files: CheckpointFiles, side: Int, _ events: EventHandler
  ) throws(GoraError) -> ImageProcessor {
    var field = try files.document("preprocessor_config.json")?.root
    if field == nil { field = try files.document("processor_config.json")?.root.optional("image_processor") }
    guard let field else {
      events(.note("no preprocessor_config.json: images are made \(side) x \(side) as CLIP's processor does"))
      return ImageProcessor(side: side)
    }
    return try ImageProcessor(reading: field)
  }

  /// The names of a known set, or a file's lines.
  private static func classes(_ name: String) throws(GoraError) -> [String] {
    if let set = ImageClassSet(named: name) { return set.classes }
    let lines = try lines(of: name, option: "--classes")
    if let twice = Dictionary(grouping: lines, by: { $0 }).filter({ $1.count > 1 }).keys.sorted().first {
      throw GoraError(.data, at: .file(name), "class \"\(twice)\" stands there twice")
    }
    return lines
  }

  /// The texts of a known set, or a file's lines.
  private static func templates(_ name: String) throws(GoraError) -> [String] {
    if let set = ImageClassSet(named: name) { return set.templates }
    let lines = try lines(of: name, option: "--templates")
    if let line = lines.first(where: { !$0.contains(ImageClassSet.place) }) {
      throw GoraError(.data, at: .file(name), "\"\(line)\" has no \(ImageClassSet.place), where the class's name goes")
    }
    return lines
  }

  private static func lines(of path: String, option: String) throws(GoraError) -> [String] {
    guard exists(path) else {
      throw GoraError(
        .usage, "\(option) \"\(path)\" is neither a name nor a file",
        hint: "names: \(ImageClassSet.all.map(\.name).joined(separator: ", "))")
    }
    let lines = try readTextFile(path).split(separator: "\n").map { line in
      String(line.drop { $0 == " " || $0 == "\t" }.reversed().drop { $0 == " " || $0 == "\t" || $0 == "\r" }.reversed())
    }.filter { !$0.isEmpty }
    if lines.isEmpty { throw GoraError(.data, at: .file(path), "the file is empty; expected one text a line") }
    return lines
  }

  // MARK: Rows

  /// Images that are held in memory; more of them lie in a scratch file.
  private static let mostBytesInMemory = 1 << 30
  /// Images decoded between two words on how far it is.
  private static let round = 256

  /// The images of `options.paths`, decoded once and kept as the model sees them, in 8 bits.
  /// - Parameter limit: the first so many.
  func rows(_ options: DataOptions, limit: Int? = nil, events: EventHandler) throws(GoraError) -> [EncodedRow] {
    let list = try ImageList(options.paths)
    if list.others > 0 {
      events(
        .warning(
          "\(list.others) files or folders of \(options.paths.joined(separator: ", ")) are not images of a class: left out"))
    }
    let files = Array(list.rows.prefix(limit ?? list.rows.count))
    var labels: [Int32] = []
    for file in files { labels.append(Int32(try classes.place(of: file))) }
    let side = config.imageSize
    let floats = PixelStore.floats(images: files.count, width: side, height: side)
    let store = PixelStore(
      width: side, height: side, values: processor.values, tokens: config.tokensPerImage,
      buffer: 4 * floats <= Self.mostBytesInMemory
        ? FloatBuffer(capacity: floats)
        : try ScratchFile(folder: TemporaryFiles.folder, of: "images").floats(floats))
    var faults = [GoraError?](repeating: nil, count: files.count)
    for first in stride(from: 0, to: files.count, by: Self.round) {
      let part = first..<min(files.count, first + Self.round)
      faults.withUnsafeMutableBufferPointer { faults in
        nonisolated(unsafe) let faults = faults
        parallelParts(part.count) { faults[first + $0] = read(files[first + $0], into: store.pixels(first + $0)) }
      }
      if !options.skipsBadRows, let fault = faults[part].compactMap({ $0 }).first { throw fault }
      events(.progress(stage: "images", done: part.upperBound, total: files.count, unit: "images"))
    }
    let bad = faults.compactMap { $0 }
    if let fault = bad.first, bad.count < files.count { events(.warning("\(bad.count) images skipped, the first: \(fault)")) }
    let rows = files.indices.filter { faults[$0] == nil }.map { index in
      EncodedRow(image: ImageInput(store, index), label: labels[index], place: files[index].place)
    }
    if rows.isEmpty, let fault = bad.first { throw fault }
    return rows
  }

  /// Puts an image's samples where they are kept; returns why that cannot be.
  private func read(_ row: ImageList.Row, into pixels: UnsafeMutablePointer<UInt8>) -> GoraError? {
    do throws(GoraError) {
      let image = try processor.pixels(of: ImageFile.read(row.path), path: row.path)
      guard image.width == config.imageSize, image.height == config.imageSize else {
        throw GoraError(
          .data, at: .file(row.path),
          "the image becomes \(image.width) x \(image.height) pixels by preprocessor_config.json, \(config.imageSize) x "
            + "\(config.imageSize) are expected by config.json")
      }
      pixels.update(from: image.pixels, count: image.pixels.count)
      return nil
    } catch { return error }
  }
}
