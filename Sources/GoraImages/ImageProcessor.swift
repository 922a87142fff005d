import GoraCore
import GoraFormats

/// What a checkpoint's preprocessor_config.json makes of an image (Transformers' `CLIPImageProcessorPil`): resized, cropped about its
/// centre, its samples rescaled and normalised.
package struct ImageProcessor: Sendable, Equatable {
  package enum Size: Sendable, Equatable {
    /// The shorter side becomes so long, the other as the image's shape says.
    case shortestEdge(Int)
    case exact(width: Int, height: Int)
  }

  /// nil: as it is.
  package var size: Size?
  package var filter = ResampleFilter.bicubic
  /// nil: not cropped.
  package var crop: (width: Int, height: Int)?
  /// What a sample is multiplied by.
  package var rescaleFactor: Double? = 1 / 255
  /// Of red, green and blue; what is subtracted, and then divided by.
  package var normalisation: (mean: [Double], deviation: [Double])? = (openAIMean, openAIDeviation)

  private static let openAIMean = [0.48145466, 0.4578275, 0.40821073]
  private static let openAIDeviation = [0.26862954, 0.26130258, 0.27577711]

  package static func == (a: ImageProcessor, b: ImageProcessor) -> Bool { a.description == b.description }

  /// CLIP's, for a model that sees squares of some side.
  package init(side: Int) {
    size = .shortestEdge(side)
    crop = (side, side)
  }

  /// Keys that say how Transformers calls the class or what it does with tensors, not with pixels.
  private static let passedOver = [
    "_processor_class", "_valid_processor_keys", "crop_size", "data_format", "default_to_square", "device", "disable_grouping",
    "do_center_crop", "do_convert_rgb", "do_normalize", "do_rescale", "do_resize", "feature_extractor_type", "image_mean",
    "image_processor_type", "image_std", "input_data_format", "processor_class", "resample", "rescale_factor", "return_tensors",
    "size",
  ]

  /// Reads preprocessor_config.json with Transformers' defaults for CLIP.
  /// - Throws: `.data` where a value is malformed, or changes pixels in a way that is not supported.
  package init(reading root: JSONField) throws(GoraError) {
    for (key, field) in try root.members where !Self.passedOver.contains(key) && field.value.content != .null {
      if key.hasPrefix("do_"), case .bool(false) = field.value.content { continue }
      throw field.error("\"\(key)\" is not supported; it may change what the model sees of an image")
    }
    // What is null is off.
    func flag(_ key: String) throws(GoraError) -> Bool {
      if try root.member(key) == nil { return true }
      return try root.optional(key)?.bool ?? false
    }
    _ = try flag("do_convert_rgb")
    let (resizes, crops, normalises) = (try flag("do_resize"), try flag("do_center_crop"), try flag("do_normalize"))
    try Self.requireDefaults(
      root,
      ["do_resize", "do_center_crop", "do_normalize"] + (resizes ? ["size", "resample"] : []) + (crops ? ["crop_size"] : [])
        + (normalises ? ["image_mean", "image_std"] : []))
    if resizes {
      let isSquare = try root.optional("default_to_square")?.bool ?? false
      size =
        try Self.needed(root, "size").map { (field) throws(GoraError) in try Self.size(field, isSquare: isSquare) }
        ?? .shortestEdge(224)
      if let field = try Self.needed(root, "resample") {
        guard let known = ResampleFilter(rawValue: try field.int) else {
          throw field.error("\"resample\" \(try field.int) is not supported; expected 2 (bilinear) or 3 (bicubic)")
        }
        filter = known
      }
    }
    if crops {
      crop = try Self.needed(root, "crop_size").map { (field) throws(GoraError) in try Self.exact(field) } ?? (224, 224)
    }
    rescaleFactor = try flag("do_rescale") ? Self.needed(root, "rescale_factor")?.double ?? 1 / 255 : nil
    if let factor = rescaleFactor, let field = try root.optional("rescale_factor"), !factor.isFinite {
      throw field.error("\"rescale_factor\" is \(factor); expected a finite number")
    }
    normalisation =
      normalises
      ? (
        try Self.channels(root, "image_mean", Self.openAIMean), try Self.channels(root, "image_std", Self.openAIDeviation)
      ) : nil
    if let zero = normalisation?.deviation.first(where: { $0 == 0 }), let field = try root.optional("image_std") {
      throw field.error("\"image_std\" has \(zero); expected numbers other than 0")
    }
  }

  /// What a step goes by; nil where CLIP's default is taken.
  private static func needed(_ root: JSONField, _ key: String) throws(GoraError) -> JSONField? {
    guard let field = try root.member(key) else { return nil }
    if field.value.content == .null { throw field.error("\"\(key)\" is null") }
    return field
  }

  /// Refuses a processor of another model that leaves its own defaults of these unsaid.
  private static func requireDefaults(_ root: JSONField, _ keys: [String]) throws(GoraError) {
    var type = try root.optional("image_processor_type")
    if type == nil { type = try root.optional("feature_extractor_type") }
    guard let type, try !type.string.hasPrefix("CLIP") else { return }
    var keys = keys
    // A side alone is a square for some of them.
    if let size = try root.optional("size"), case .integer = size.value.content { keys.append("default_to_square") }
    for key in keys where try root.member(key) == nil {
      throw type.error("\(try type.string) has defaults of its own, and the file does not say \"\(key)\"")
    }
  }

  /// A number for each channel, or one for all.
  private static func channels(_ root: JSONField, _ key: String, _ usual: [Double]) throws(GoraError) -> [Double] {
    guard let field = try needed(root, key) else { return usual }
    guard case .array = field.value.content else { return Array(repeating: try field.double, count: 3) }
    var numbers: [Double] = []
    for element in try field.elements { numbers.append(try element.double) }
    guard numbers.count == 3 else { throw field.error("\"\(key)\" has \(numbers.count) numbers; expected 3") }
    return numbers
  }

  private static let sides = 1...65_536

  private static func size(_ field: JSONField, isSquare: Bool) throws(GoraError) -> Size {
    guard case .object = field.value.content else {
      let side = try field.int(in: sides)
      return isSquare ? .exact(width: side, height: side) : .shortestEdge(side)
    }
    if let edge = try field.optional("shortest_edge") {
      if let other = try field.members.first(where: { $0.key != "shortest_edge" && $0.field.value.content != .null }) {
        throw other.field.error("\"\(other.key)\" beside \"shortest_edge\" is not supported")
      }
      return .shortestEdge(try edge.int(in: sides))
    }
    let exact = try exact(field)
    return .exact(width: exact.width, height: exact.height)
  }

  /// {height, width}, or the side of a square.
  private static func exact(_ field: JSONField) throws(GoraError) -> (width: Int, height: Int) {
    guard case .object = field.value.content else {
      let side = try field.int(in: sides)
      return (side, side)
    }
    if let other = try field.members.first(where: { !["height", "width"].contains($0.key) && $0.field.value.content != .null }) {
      throw other.field.error("\"\(other.key)\" in \(field.name) is not supported; expected \"height\" and \"width\"")
    }
    return (try field.required("width").int(in: sides), try field.required("height").int(in: sides))
  }

  /// The pixels that the model sees, in 8 bits, of an image.
  /// - Throws: `.data` naming the file where the resized image would be too large.
  package func pixels(of image: RGBImage, path: String) throws(GoraError) -> RGBImage {
    var image = image
    if let size {
      let new = Self.newSize(image, size)
      guard new.width > 0, new.height > 0, new.width <= RGBImage.mostPixels / new.height else {
        throw GoraError(
          .data, at: .file(path),
          "an image of \(image.width) x \(image.height) pixels would be resized to \(new.width) x \(new.height); expected at most "
            + "\(RGBImage.mostPixels) pixels")
      }
      image = image.resized(width: new.width, height: new.height, by: filter)
    }
    if let crop {
      // Halves are rounded down where there is too much, and up where black has to be added.
      let (left, top) = ((image.width - crop.width) >> 1, (image.height - crop.height) >> 1)
      image = image.cropped(left: left, top: top, width: crop.width, height: crop.height)
    }
    return image
  }

  private static func newSize(_ image: RGBImage, _ size: Size) -> (width: Int, height: Int) {
    switch size {
    case .exact(let width, let height): return (width, height)
    case .shortestEdge(let edge):
      let (short, long) = (min(image.width, image.height), max(image.width, image.height))
      let other = edge * long / short
      return image.width <= image.height ? (edge, other) : (other, edge)
    }
  }

  /// The numbers that the model sees for the samples 0…255 of each channel [3, 256].
  package var values: [Float] {
    (0..<3).flatMap { channel in
      (0..<256).map { sample -> Float in
        let scaled = rescaleFactor.map { Float(Double(sample) * $0) } ?? Float(sample)
        guard let normalisation else { return scaled }
        return (scaled - Float(normalisation.mean[channel])) / Float(normalisation.deviation[channel])
      }
    }
  }

  /// Spelled out: two that are written alike do the same.
  package var description: String {
    let sizes =
      switch size {
      case nil: "as is"
      case .shortestEdge(let edge): "shortest edge \(edge)"
      case .exact(let width, let height): "\(width) x \(height)"
      }
    let numbers = normalisation.map { "mean \($0.mean) deviation \($0.deviation)" } ?? "as is"
    return "size \(sizes) by \(filter), crop \(crop.map { "\($0.width) x \($0.height)" } ?? "none"), factor "
      + "\(rescaleFactor.map { "\($0)" } ?? "none"), \(numbers)"
  }
}
