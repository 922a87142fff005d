import CGoraKernels
import Foundation
import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

/// kernels.json: small cases of single operations, computed by PyTorch in float64.
@Suite struct KernelFixtureTests {
  struct Case {
    let field: JSONField

    init(_ name: String) throws {
      let text = try Data(contentsOf: URL(filePath: "\(Fixtures.folder)/kernels.json"))
      field = try JSONDocument(path: "kernels.json", text: [UInt8](text)).root.required(name)
    }

    func doubles(_ key: String) throws -> [Double] { try field.required(key).elements.map { try $0.double } }
    func floats(_ key: String) throws -> [Float] { try doubles(key).map { Float($0) } }
    func buffer(_ key: String) throws -> FloatBuffer { FloatBuffer(try floats(key)) }
    func int(_ key: String) throws -> Int { try field.required(key).int }
  }

  /// The scaled frequencies go through f32, as in Transformers: 6e-8 of each.
  @Test(arguments: ["rope_default", "rope_linear", "rope_llama3.1", "rope_llama3.2"]) func frequencies(_ name: String) throws {
    let test = try Case(name)
    var notes: [String] = []
    let size = try test.int("head_dim")
    let scaling = try RotaryScaling(reading: test.field, headSize: size, maxPositions: 131_072, notes: &notes)
    let frequencies = scaling.inverseFrequencies(headSize: size)
    let expected = try test.doubles("inverse_frequencies")
    #expect(frequencies.count == expected.count)
    for (frequency, value) in zip(frequencies, expected) { #expect(abs(frequency - value) < 2e-7 * value) }
  }

  @Test func rotary() throws {
    let test = try Case("rotary")
    let positions = try test.field.required("positions").ints.map { Int32($0) }
    let size = try test.int("head_dim")
    let table = RotaryTable(RotaryScaling(theta: try test.field.required("rope_theta").double), headSize: size)
    // In two goes: the table grows.
    table.prepare(positions: [1], starts: [0, 1])
    table.prepare(positions: positions, starts: [0, positions.count])
    for (from, to, inverse) in [("x", "output", false), ("d_output", "d_x", true)] {
      let x = try test.buffer(from)
      table.rotate(x.pointer, heads: 1, inverse: inverse)
      // An angle of 37 rounds to 4e-6 at worst.
      #expect(relativeError(x.array, try test.floats(to)) < 3e-6)
    }
  }

  @Test func rmsNorm() throws {
    let test = try Case("rms_norm")
    let (rows, columns) = (try test.int("rows"), try test.int("columns"))
    let (x, w, dy) = (try test.floats("x"), try test.floats("weight"), try test.floats("d_output"))
    var y = x
    var deviation = [Float](repeating: 0, count: rows)
    gora_rms_norm(x, w, 0, &y, &deviation, rows, columns, Float(try test.field.required("epsilon").double))
    #expect(relativeError(y, try test.floats("output")) < 5e-7)
    var dx = [Float](repeating: 0, count: x.count)
    gora_rms_norm_backward(dy, x, w, 0, deviation, &dx, rows, columns, false)
    #expect(relativeError(dx, try test.floats("d_x")) < 1e-6)
    var dw = [Float](repeating: 0, count: columns)
    gora_rms_norm_weight(dy, x, deviation, &dw, rows, columns, 0, columns)
    #expect(relativeError(dw, try test.floats("d_weight")) < 1e-6)
  }

  @Test func swiglu() throws {
    let test = try Case("swiglu")
    let (gate, up, dy) = (try test.floats("gate"), try test.floats("up"), try test.floats("d_output"))
    var (y, dGate, dUp) = (gate, gate, gate)
    gora_swiglu(gate, up, &y, gate.count)
    gora_swiglu_backward(dy, gate, up, &dGate, &dUp, gate.count)
    #expect(relativeError(y, try test.floats("output")) < 5e-7)
    #expect(relativeError(dGate, try test.floats("d_gate")) < 1e-6)
    #expect(relativeError(dUp, try test.floats("d_up")) < 1e-6)
  }

  @Test func attention() throws {
    try Matmul.open()
    let test = try Case("attention")
    let (tokens, heads) = (try test.int("tokens"), try test.int("heads"))
    let headSize = try test.int("head_dim")
    let attention = Attention(
      heads: heads, keyValueHeads: try test.int("key_value_heads"), headSize: headSize, scale: 1 / Float(headSize).squareRoot())
    let (q, k, v) = (try test.buffer("q"), try test.buffer("k"), try test.buffer("v"))
    let (o, lse) = (FloatBuffer(zeros: q.count), FloatBuffer(zeros: tokens * heads))
    attention.forward(
      q: q.pointer, k: k.pointer, v: v.pointer, starts: [0, tokens], o: o.pointer, lse: lse.pointer)
    #expect(relativeError(o.array, try test.floats("output")) < 1e-6)
    let (dq, dk, dv) = (FloatBuffer(zeros: q.count), FloatBuffer(zeros: k.count), FloatBuffer(zeros: v.count))
    let dOut = try test.buffer("d_output")
    attention.backward(
      q: q.pointer, k: k.pointer, v: v.pointer, o: o.pointer, lse: lse.pointer, starts: [0, tokens], gradient: dOut.pointer,
      dq: dq.pointer, dk: dk.pointer, dv: dv.pointer)
    #expect(relativeError(dq.array, try test.floats("d_q")) < 5e-6)
    #expect(relativeError(dk.array, try test.floats("d_k")) < 5e-6)
    #expect(relativeError(dv.array, try test.floats("d_v")) < 5e-6)
  }

  @Test func crossEntropy() throws {
    let test = try Case("cross_entropy")
    let (rows, vocabulary) = (try test.int("rows"), try test.int("vocabulary"))
    let labels = try test.field.required("labels").ints
    let counted = labels.filter { $0 != -100 }.count
    var gradient = try test.floats("logits")
    var loss = 0.0
    for row in 0..<rows {
      let part = row * vocabulary..<(row + 1) * vocabulary
      if labels[row] == -100 {
        gradient.replaceSubrange(part, with: repeatElement(0, count: vocabulary))
        continue
      }
      gradient.withUnsafeMutableBufferPointer {
        loss += gora_cross_entropy($0.baseAddress! + part.lowerBound, vocabulary, labels[row], 1 / Float(counted))
      }
    }
    #expect(abs(loss / Double(counted) - (try test.field.required("mean_loss").double)) < 1e-5)
    #expect(relativeError(gradient, try test.floats("d_logits")) < 1e-6)
  }
}
