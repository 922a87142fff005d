import GoraCore

/// The element types of a GGUF file's tensors, by ggml's numbers.
enum GGUFTensorType {
  /// Those that are read here.
  static let read: [(number: UInt32, dtype: DType)] = [
    (0, .f32), (1, .f16), (30, .bf16), (8, .q80), (2, .q40), (3, .q41), (6, .q50), (7, .q51), (12, .q4k), (13, .q5k), (14, .q6k),
  ]

  /// The names of others, for messages.
  private static let others: [UInt32: String] = [
    4: "Q4_2", 5: "Q4_3", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M",
    34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
  ]

  static func dtype(_ number: UInt32) -> DType? { read.first { $0.number == number }?.dtype }

  static func name(_ number: UInt32) -> String { others[number].map { "\"\($0)\"" } ?? "\(number), which is not known" }
}
