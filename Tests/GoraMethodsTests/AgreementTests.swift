import Foundation
import GoraFormats
import GoraMethods
import Testing

/// Against numpy, by other formulas (Tests/Fixtures/glue/make_fixtures.py). Sums of some hundred terms in float64: 1e-12.
struct AgreementTests {
  private static func fixture() throws -> JSONField {
    let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    let path = folder.appending(path: "Fixtures/glue/agreement.json").path()
    return try JSONDocument(path: path, text: readWholeFile(path)).root
  }

  @Test func countsAgreeWithNumPy() throws {
    for one in try Self.fixture().required("agreement").elements {
      let classes = try one.required("classes").int
      let (truth, predicted) = (try one.required("truth").ints, try one.required("predicted").ints)
      var agreement = Agreement(classes: classes)
      for (truth, predicted) in zip(truth, predicted) {
        agreement.add(truth: truth, predicted: predicted < classes ? predicted : nil)
      }
      #expect(agreement.total == truth.count && agreement.correct == zip(truth, predicted).count { $0 == $1 })
      #expect(abs(agreement.matthews - (try one.required("matthews").double)) < 1e-12)
      #expect(abs(agreement.f1(of: 1) - (try one.required("f1").double)) < 1e-12)
    }
  }

  @Test func correlationAgreesWithNumPy() throws {
    for one in try Self.fixture().required("series").elements {
      func numbers(_ name: String) throws -> [Double] { try one.required(name).elements.map { try $0.double } }
      let r = try #require(Correlation.pearson(numbers("x"), numbers("y")))
      #expect(abs(r - (try one.required("pearson").double)) < 1e-12)
    }
    #expect(Correlation.pearson([1, 1], [1, 2]) == nil && Correlation.pearson([], []) == nil)
    #expect(Correlation.pearson([1, 2, 4], [-2, -4, -8]) == -1)
  }

  /// One class for all, or all taken for one: nothing is told apart.
  @Test func nothingToTellApart() {
    var agreement = Agreement(classes: 2)
    #expect(agreement.matthews == 0 && agreement.f1(of: 1) == 0)
    for truth in [0, 1, 1] { agreement.add(truth: truth, predicted: 1) }
    #expect(agreement.matthews == 0 && agreement.f1(of: 1) == 0.8 && agreement.counts == [[0, 1, 0], [0, 2, 0]])
  }
}
