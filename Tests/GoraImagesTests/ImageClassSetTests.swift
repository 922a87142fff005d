import GoraImages
import Testing

/// The known sets, by the numbers of classes that their papers name and of texts that the reference has.
@Suite struct ImageClassSetTests {
  @Test(
    arguments: [
      ("stanford_cars", 196, 8, "AM General Hummer SUV 2000", "smart fortwo Convertible 2012"),
      ("dtd", 47, 8, "banded", "zigzagged"),
      ("eurosat", 10, 3, "annual crop land", "lake or sea"),
      (
        "gtsrb", 43, 3, "red and white circle 20 kph speed limit",
        "white circle with gray strike bar indicating no passing for trucks has ended"
      ),
      ("resisc45", 45, 18, "airplane", "wetland"), ("sun397", 397, 2, "abbey", "youth hostel"), ("svhn", 10, 1, "0", "9"),
    ]) func sets(_ name: String, _ classes: Int, _ templates: Int, _ first: String, _ last: String) throws
  {
    let set = try #require(ImageClassSet(named: name))
    #expect(set.classes.count == classes && Set(set.classes).count == classes)
    #expect(set.classes.first == first && set.classes.last == last)
    #expect(set.templates.count == templates && set.templates.allSatisfy { $0.contains(ImageClassSet.place) })
    #expect(set.classes.allSatisfy { !$0.isEmpty && !$0.contains("  ") })
    #expect(ImageClassSet(named: "cars") == nil)
  }
}
