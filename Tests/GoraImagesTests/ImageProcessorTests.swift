import GoraCore
import GoraFormats
import GoraImages
import Testing

/// Resizing, cropping and normalising beside Pillow and Transformers (Fixtures/images/make_fixtures.py), bit by bit.
@Suite struct ImageProcessorTests {
  private static func processor(_ text: String) throws -> ImageProcessor {
    try ImageProcessor(reading: JSONDocument(path: "preprocessor_config.json", text: Array(text.utf8)).root)
  }

  /// The script's `PROCESSORS`, as preprocessor_config.json spells them.
  private static let configurations = [
    "clip-224":
      #"{"crop_size": 224, "size": 224, "do_resize": true, "feature_extractor_type": "CLIPFeatureExtractor", "resample": 3}"#,
    "small": #"{"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}, "rescale_factor": 0.00392156862745098}"#,
    "padded": #"{"size": {"height": 21, "width": 60}, "crop_size": {"height": 33, "width": 48}}"#,
    "bilinear": #"{"size": {"height": 24, "width": 24}, "resample": 2, "do_center_crop": false}"#,
  ]

  @Test func pixelsAndNumbersAreTransformers() throws {
    for (name, field) in try ImageFixtures.golden {
      let image = try ImageFile.read(ImageFixtures.path(name))
      for (title, expected) in try field.required("processed").members {
        let processor = try Self.processor(#require(Self.configurations[title]))
        let processed = try processor.pixels(of: image, path: name)
        #expect(ImageFixtures.summary(processed) == (try ImageFixtures.summary(expected)), "\(name), \(title)")
        let values = processor.values
        let count = processed.width * processed.height
        var bytes: [UInt8] = []
        bytes.reserveCapacity(12 * count)
        for channel in 0..<3 {
          for i in 0..<count {
            withUnsafeBytes(of: values[channel * 256 + Int(processed.pixels[3 * i + channel])].bitPattern.littleEndian) {
              bytes += $0
            }
          }
        }
        #expect(ImageFixtures.digest(bytes) == (try expected.required("values").string), "\(name), \(title)")
      }
    }
  }

  @Test func defaultsAreCLIPs() throws {
    #expect(try Self.processor("{}") == ImageProcessor(side: 224))
    #expect(
      try Self.processor(#"{"size": 32, "crop_size": 32, "do_pad": false}"#) == ImageProcessor(side: 32))
    #expect(
      try Self.processor(#"{"do_center_crop": null, "crop_size": null, "do_normalize": null}"#)
        == Self.processor(#"{"do_center_crop": false, "do_normalize": false}"#))
    let other = #""image_processor_type": "ViTImageProcessor", "do_resize": true, "do_center_crop": false, "do_normalize": false"#
    #expect(
      try Self.processor("{\(other), \"size\": {\"height\": 32, \"width\": 32}, \"resample\": 2}")
        == Self.processor(
          #"{"size": {"height": 32, "width": 32}, "resample": 2, "do_center_crop": false, "do_normalize": false}"#))
    #expect(
      try Self.processor(#"{"size": 32, "default_to_square": true}"#) == Self.processor(#"{"size": {"height": 32, "width": 32}}"#)
    )
    let plain = try Self.processor(
      #"{"do_resize": false, "do_center_crop": false, "do_rescale": false, "do_normalize": false}"#)
    let image = RGBImage(width: 1, height: 2, pixels: [1, 2, 3, 4, 5, 6])
    #expect(try plain.pixels(of: image, path: "x") == image)
    #expect(plain.values == (0..<3).flatMap { _ in (0..<256).map(Float.init) })
  }

  @Test(arguments: [
    (#"{"resample": 1}"#, "\"resample\" 1 is not supported; expected 2 (bilinear) or 3 (bicubic)"),
    (#"{"do_pad": true}"#, "\"do_pad\" is not supported"), (#"{"pad_size": {"height": 3}}"#, "\"pad_size\" is not supported"),
    (#"{"size": {"longest_edge": 3}}"#, "\"longest_edge\" in \"size\" is not supported"),
    (#"{"size": {"shortest_edge": 3, "longest_edge": 5}}"#, "\"longest_edge\" beside \"shortest_edge\" is not supported"),
    (#"{"size": 0}"#, "\"size\" is 0; expected 1 to 65536"),
    (#"{"image_mean": [1, 2]}"#, "\"image_mean\" has 2 numbers; expected 3"),
    (#"{"image_std": [1, 0, 1]}"#, "\"image_std\" has 0.0; expected numbers other than 0"),
    (#"{"crop_size": {"height": 3}}"#, "lacks \"width\""),
    (#"{"image_processor_type": "ViTImageProcessor", "size": 32, "crop_size": 32}"#, "does not say \"do_resize\""),
    (
      #"{"feature_extractor_type": "ViTFeatureExtractor", "do_resize": true, "do_normalize": true}"#,
      "does not say \"do_center_crop\""
    ),
    (
      #"{"image_processor_type": "ViTImageProcessor", "do_resize": true, "do_center_crop": false, "do_normalize": false, "size": 32, "#
        + #""resample": 2}"#, "does not say \"default_to_square\""
    ),
    (#"{"image_mean": null}"#, "\"image_mean\" is null"), (#"{"crop_size": null}"#, "\"crop_size\" is null"),
  ])
  func whatWouldChangePixelsIsRefused(_ text: String, _ problem: String) {
    let error = errorThrown { try Self.processor(text) }
    #expect(error.status == .data && "\(error)".contains(problem), "\(error)")
  }

  @Test func linesThatWouldBecomeGiganticAreRefused() throws {
    let line = RGBImage(width: 1, height: 65_536 * 16, pixels: Array(repeating: 0, count: 3 << 20))
    let error = errorThrown { try ImageProcessor(side: 224).pixels(of: line, path: "line.png") }
    #expect(error.status == .data && "\(error)".contains("line.png: an image of 1 x 1048576 pixels would be resized to 224 x"))
  }
}
