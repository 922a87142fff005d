import GoraCore

/// The closed vocabulary of the stories.
enum Words {
  struct Noun {
    let one: String
    let many: String
    init(_ one: String, _ many: String) {
      self.one = one
      self.many = many
    }
    init(_ one: String) { self.init(one, one + "s") }

    func counted(_ number: Int) -> String { "\(number) \(form(number))" }
    func form(_ number: Int) -> String { number == 1 ? one : many }
  }

  struct Person: Equatable {
    let name: String
    /// "She" or "He".
    let subject: String
    /// "her" or "his".
    let possessive: String
    var pronoun: String { subject.lowercased() }
  }

  static let people: [Person] =
    ["Anna", "Clara", "Emma", "Grace", "Ivy", "Kate", "Mia", "Olivia"].map {
      Person(name: $0, subject: "She", possessive: "her")
    }
    + ["Ben", "David", "Frank", "Henry", "Jack", "Leo", "Noah", "Tom"].map {
      Person(name: $0, subject: "He", possessive: "his")
    }

  /// Things that are kept, given away and counted.
  static let things = [
    Noun("apple"), Noun("pear"), Noun("sticker"), Noun("marble"), Noun("card"), Noun("shell"), Noun("stamp"), Noun("coin"),
    Noun("button"), Noun("stone"),
  ]
  /// Things that are eaten.
  static let food = [Noun("apple"), Noun("pear"), Noun("cookie"), Noun("muffin"), Noun("orange"), Noun("egg")]
  /// Things that are bought and sold.
  static let goods = [
    Noun("book"), Noun("pencil"), Noun("cup"), Noun("ball"), Noun("toy"), Noun("lamp"), Noun("shirt"), Noun("hat"), Noun("cake"),
    Noun("flower"),
  ]
  static let containers = [Noun("box", "boxes"), Noun("bag"), Noun("basket"), Noun("jar")]
  static let animals = [Noun("cow"), Noun("goat"), Noun("hen"), Noun("duck"), Noun("horse")]
  static let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

  static let dollar = Noun("dollar")
  static let mile = Noun("mile")
  static let hour = Noun("hour")
  static let page = Noun("page")
  static let year = Noun("year")

  /// "twice", "3 times" …
  static func times(_ factor: Int) -> String { factor == 2 ? "twice" : "\(factor) times" }
}

extension Random {
  /// Two different elements.
  mutating func two<T>(of array: [T]) -> (T, T) {
    let first = below(array.count)
    let second = (first + 1 + below(array.count - 1)) % array.count
    return (array[first], array[second])
  }

  /// Three different elements.
  mutating func three<T>(of array: [T]) -> (T, T, T) {
    var order = Array(array.indices)
    shuffle(&order)
    return (array[order[0]], array[order[1]], array[order[2]])
  }

  mutating func coin() -> Bool { below(2) == 0 }
}
