import Glibc
import GoraCore
import GoraFormats
import GoraJinja
import Testing

/// The project's folder.
private let root = #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" }
private let chatTemplates = (getenv("GORA_SHARED").map { String(cString: $0) } ?? root + "/../shared") + "/data/chat_templates"

private func document(_ path: String) throws -> JSONField {
  try JSONDocument(path: path, text: readWholeFile(path)).root
}

private func value(_ json: JSON) -> JinjaValue {
  switch json.content {
  case .null: .none
  case .bool(let flag): .bool(flag)
  case .integer(let number): .int(number)
  case .number(let number): .float(number)
  case .string(let text): .string(text)
  case .array(let items): .list(items.map(value))
  case .object(let members): .dict(members.map { JinjaDict.Entry($0.key, value($0.value)) })
  }
}

private func text(
  _ template: JinjaTemplate, _ variables: [(name: String, value: JinjaValue)], now: Int? = nil
) throws -> String {
  String(decoding: try template.render(variables, now: now).text, as: UTF8.self)
}

@Suite struct JinjaTemplateTests {
  /// Tests/Fixtures/jinja: rendered by Jinja as Transformers sets it up; null where that raises.
  @Test func smallTemplatesRenderAsInJinja() throws {
    let fixture = try document(root + "/Tests/Fixtures/jinja/cases.json")
    let variables = try fixture.required("variables").members.map { (name: $0.key, value: value($0.field.value)) }
    let cases = try fixture.required("cases").elements
    #expect(cases.count > 80)
    for entry in cases {
      let source = try entry.required("template").string
      let got = try? text(JinjaTemplate(source, name: "template"), variables)
      let expected = try entry.optional("text")?.string
      #expect(got == expected, "\(source)")
    }
  }

  /// Real templates, rendered by Transformers on 25 November 2026, a date that some of them write.
  @Test(.enabled(if: access(chatTemplates, R_OK) == 0, "there is no ../shared/data/chat_templates"))
  func realTemplatesRenderAsInTransformers() throws {
    let golden = try document(chatTemplates + "/golden.json")
    let special = try golden.required("special").members.map { (name: $0.key, value: value($0.field.value)) }
    let conversations = try golden.required("conversations")
    var (texts, refusals) = (0, 0)
    for (file, renderings) in try golden.required("renderings").members {
      let source = String(decoding: try readWholeFile("\(chatTemplates)/\(file)"), as: UTF8.self)
      let template = try JinjaTemplate(source, name: file)
      for (name, expected) in try renderings.members {
        // `one+generation_prompt` is the conversation without its answer.
        let parts = name.split(separator: "+")
        var messages = try conversations.required(String(parts[0])).elements.map { value($0.value) }
        if parts.count > 1 { messages.removeLast() }
        let variables =
          special + [
            ("messages", .list(messages)), ("tools", JinjaValue.none), ("documents", .none),
            ("add_generation_prompt", .bool(parts.count > 1)),
          ]
        if case .string(let wanted) = expected.value.content {
          #expect(try text(template, variables, now: 1_795_608_000) == wanted, "\(file), \(name)")
          texts += 1
        } else {
          #expect(throws: GoraError.self, "\(file), \(name)") { try template.render(variables) }
          refusals += 1
        }
      }
    }
    #expect(texts == 428)
    #expect(refusals == 4)
  }

  @Test func generationsAreFound() throws {
    let template = try JinjaTemplate("a{% generation %}é{% endgeneration %}b{% generation %}c{% endgeneration %}", name: "t")
    #expect(template.hasGenerations)
    let rendered = try template.render([])
    #expect(String(decoding: rendered.text, as: UTF8.self) == "aébc")
    #expect(rendered.generations == [1..<3, 4..<5])
  }

  /// Integers are of 64 bits; what Python would go on with is refused too.
  @Test(arguments: [
    "{% for i in range(100000000) %}{% endfor %}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "{{ 'a' * 1000000000000 }}", "{{ 10 ** 20 }}",
  ]) func renderingIsBounded(_ source: String) throws {
    let template = try JinjaTemplate(source, name: "t.jinja")
    let error = #expect(throws: GoraError.self) { try template.render([]) }
    #expect(error?.status == .data)
  }

  @Test func aRefusalNamesThePlace() throws {
    let error = #expect(throws: GoraError.self) { try JinjaTemplate("a\n{% nonsense %}", name: "chat_template.jinja") }
    #expect(error?.description.contains("chat_template.jinja:2:") == true)
    #expect(error?.description.contains("nonsense") == true)
  }
}
