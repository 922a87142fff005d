import GoraCore
import GoraText
import Testing

/// `--learn`: what of a row is learnt.
@Suite struct LearntPartTests {
  /// What is learnt of a row, end tokens spelt out, and everything else as dots.
  private static func learnt(_ row: DataRow, _ part: LearntPart, template: Template = .alpaca) throws -> String {
    let encoder = RowEncoder(
      encoder: ByteEncoder(), bos: ByteEncoder.bos, eos: ByteEncoder.eos, template: template, learning: part, maxLength: 2000)
    let row = try encoder.encodeAsItIs(row)
    return ByteEncoder.text(zip(row.ids, row.labels).map { $1 == DataRow.notLearnt ? Int32(UInt8(ascii: ".")) : $0 })
      .replacing(#/\.+/#, with: ".")
  }

  private static let answer = "Here:\n```python\nx = 1\n```\nand\n  ```\ny\n``` z\n  ``` \nend\n````\nopen"

  @Test func parts() throws {
    let row = DataRow.instruction(Instruction(kind: .instruction, instruction: "Q", response: Self.answer))
    #expect(try Self.learnt(row, .answers) == ".\(Self.answer)</s>")
    #expect(try Self.learnt(row, .all).hasPrefix("<s>Below is"))
    #expect(try Self.learnt(row, .all).hasSuffix("### Response:\(Self.answer)</s>"))
    #expect(try Self.learnt(row, .code) == ".```python\nx = 1\n```.```\ny\n``` z\n  ```.````\nopen.")
  }

  /// Of a chat each answer's code, in a template of ours; without any nothing is learnt.
  @Test func chats() throws {
    let chat = DataRow.chat([
      ChatTurn(.user, "```\nno\n```"), ChatTurn(.assistant, "a\n```\nb\n```"), ChatTurn(.user, "c"), ChatTurn(.assistant, "d"),
      ChatTurn(.user, "e"), ChatTurn(.assistant, "```sh\nf\n```\ng"),
    ])
    #expect(try Self.learnt(chat, .code, template: .chatml) == ".```\nb\n```.```sh\nf\n```.")
    let none = DataRow.chat([ChatTurn(.user, "c"), ChatTurn(.assistant, "d")])
    let encoder = RowEncoder(
      encoder: ByteEncoder(), bos: nil, eos: ByteEncoder.eos, template: nil, learning: .code, maxLength: 100)
    #expect(try encoder.encode(none) == nil)
  }

  /// Texts and token ids say themselves what is learnt.
  @Test func others() throws {
    for part in LearntPart.allCases {
      #expect(try Self.learnt(.text("ab"), part) == ".ab</s>")
      #expect(try Self.learnt(.tokens(ids: [97, 98, 99], labels: [-100, 98, -100]), part) == ".b.")
    }
  }
}
