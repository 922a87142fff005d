import Glibc

/// The colours of all figures, in a light and a dark scheme, and the style sheet that carries them.
package enum Palette {
  /// Curves and bars have this many colours, tellable apart with any colour vision; more of them are dashed.
  package static let categories = 8
  /// Steps of the one-hue scale of heat maps.
  package static let levels = 12

  package struct Colour: Sendable, Equatable {
    package let red: Double
    package let green: Double
    package let blue: Double

    /// 0 to 255 each.
    init(_ red: Double, _ green: Double, _ blue: Double) {
      self.red = red
      self.green = green
      self.blue = blue
    }

    init(_ hex: UInt32) {
      self.init(Double(hex >> 16 & 255), Double(hex >> 8 & 255), Double(hex & 255))
    }

    var hex: String {
      "#"
        + [red, green, blue].map {
          let text = String(Int($0.rounded()), radix: 16)
          return text.count < 2 ? "0" + text : text
        }.joined()
    }

    func mixed(_ other: Colour, _ share: Double) -> Colour {
      Colour(
        red + (other.red - red) * share, green + (other.green - green) * share, blue + (other.blue - blue) * share)
    }
  }

  package enum Scheme: CaseIterable, Sendable { case light, dark }

  /// A colour by its role: `ink`, `muted`, `rule`, `axis`, `paper`, `empty`, `c0`…, `h0`… (heat) and `n0`… (numbers on heat).
  package static func colours(_ scheme: Scheme) -> [(role: String, colour: Colour)] {
    let plain: [(String, UInt32)] =
      switch scheme {
      case .light:
        [
          ("ink", 0x1D2329), ("muted", 0x57616B), ("rule", 0xE4E8EC), ("axis", 0xA3ADB7), ("paper", 0xFFFFFF),
          ("empty", 0xF3F5F7),
        ]
      case .dark:
        [
          ("ink", 0xE4E8EC), ("muted", 0x9CA7B2), ("rule", 0x2A3139), ("axis", 0x5D6873), ("paper", 0x14181D),
          ("empty", 0x1C2127),
        ]
      }
    // After Okabe and Ito; yellow, which paper swallows, is a brown.
    let series: [UInt32] =
      switch scheme {
      case .light: [0x0072B2, 0xD55E00, 0x008F68, 0xB9508F, 0xB87E00, 0x3E9BD0, 0x7A4B1E, 0x6B7580]
      case .dark: [0x4FA6E0, 0xF0843C, 0x2DBB92, 0xE08CBF, 0xEDB33A, 0x93CFF5, 0xC49A6C, 0xA4AEB8]
      }
    var all = plain.map { ($0.0, Colour($0.1)) }
    for (i, hex) in series.enumerated() { all.append(("c\(i)", Colour(hex))) }
    for level in 0..<levels {
      let heat = heat(level, scheme)
      all.append(("h\(level)", heat))
      let dark = Colour(0x000000)
      let light = Colour(0xFFFFFF)
      all.append(("n\(level)", contrast(heat, dark) >= contrast(heat, light) ? dark : light))
    }
    return all.map { (role: $0.0, colour: $0.1) }
  }

  /// From near the paper to strong: the more ink, the more of the quantity, in both schemes.
  private static func heat(_ level: Int, _ scheme: Scheme) -> Colour {
    let stops: [UInt32] =
      switch scheme {
      case .light: [0xEDF3F9, 0xB8D3EA, 0x6BA5D1, 0x2B74AF, 0x0B3F75]
      case .dark: [0x1B2732, 0x1F4568, 0x2F74AB, 0x6BAEDD, 0xCBE6FA]
      }
    let place = Double(level) / Double(levels - 1) * Double(stops.count - 1)
    let i = min(stops.count - 2, Int(place))
    return Colour(stops[i]).mixed(Colour(stops[i + 1]), place - Double(i))
  }

  /// The level of a share of the range.
  package static func level(_ fraction: Double) -> Int {
    if fraction.isNaN { return 0 }
    return Int((min(max(fraction, 0), 1) * Double(levels - 1)).rounded())
  }

  /// Of two colours, as WCAG defines it: 1 to 21.
  package static func contrast(_ a: Colour, _ b: Colour) -> Double {
    let (x, y) = (luminance(a), luminance(b))
    return (max(x, y) + 0.05) / (min(x, y) + 0.05)
  }

  private static func luminance(_ colour: Colour) -> Double {
    func linear(_ value: Double) -> Double {
      let x = value / 255
      return x <= 0.04045 ? x / 12.92 : pow((x + 0.055) / 1.055, 2.4)
    }
    return 0.2126 * linear(colour.red) + 0.7152 * linear(colour.green) + 0.0722 * linear(colour.blue)
  }

  // MARK: Style sheets

  /// What each class of an SVG looks like; `$role` stands for a colour.
  private static var rules: [(selector: String, properties: String, coloured: String)] {
    var rules = [
      ("text", font, ""), ("text.t", "", "fill:$ink"), ("text.b", "font-weight:600", "fill:$ink"), ("text.m", "", "fill:$muted"),
      (".rule", "fill:none;stroke-width:1", "stroke:$rule"), (".axis", "fill:none;stroke-width:1", "stroke:$axis"),
      (".lead", "fill:none;stroke-width:.75", "stroke:$axis"), (".ref", "fill:none;stroke-width:2", "stroke:$ink"),
      (".paper", "", "fill:$paper"), (".empty", "", "fill:$empty"),
      (".raw", "stroke-width:1;opacity:.25", ""), (".line", "stroke-width:1.75;stroke-linejoin:round;stroke-linecap:round", ""),
      (".band", "opacity:.13", ""), (".d1", "stroke-dasharray:5 3", ""), (".d2", "stroke-dasharray:1.5 3", ""),
      (".dot", "stroke-width:1", "stroke:$paper"), (".mark", "opacity:.55", ""),
    ]
    for i in 0..<categories {
      rules.append((".s\(i)", "fill:none", "stroke:$c\(i)"))
      rules.append((".f\(i)", "", "fill:$c\(i)"))
    }
    for i in 0..<levels {
      rules.append((".h\(i)", "", "fill:$h\(i)"))
      rules.append(("text.n\(i)", "", "fill:$n\(i)"))
    }
    return rules.map { (selector: $0.0, properties: $0.1, coloured: $0.2) }
  }

  private static let font =
    "font-family:ui-sans-serif,system-ui,\"Helvetica Neue\",Arial,\"DejaVu Sans\",sans-serif;font-size:11px;"
    + "font-variant-numeric:tabular-nums"

  /// For a page: colours as variables, which its own rules use too.
  static var pageStyle: String {
    func variables(_ scheme: Scheme) -> String {
      colours(scheme).map { "--\($0.role):\($0.colour.hex)" }.joined(separator: ";")
    }
    var css = ":root{color-scheme:light dark;\(variables(.light))}\n"
    css += "@media (prefers-color-scheme:dark){:root{\(variables(.dark))}}\n"
    for rule in rules {
      let coloured = rule.coloured.replacing(/\$([a-z0-9]+)/) { "var(--\($0.1))" }
      css += "svg \(rule.selector){\([rule.properties, coloured].filter { !$0.isEmpty }.joined(separator: ";"))}\n"
    }
    return css
  }

  /// For an SVG on its own: plain colours, which every viewer knows, and the dark ones where it asks for them.
  static var drawingStyle: String {
    func resolved(_ text: String, _ scheme: Scheme) -> String {
      let table = colours(scheme)
      return text.replacing(/\$([a-z0-9]+)/) { match in
        table.first { $0.role == match.1 }?.colour.hex ?? "#000"
      }
    }
    var css = ""
    var dark = ""
    for rule in rules {
      let coloured = resolved(rule.coloured, .light)
      css += "\(rule.selector){\([rule.properties, coloured].filter { !$0.isEmpty }.joined(separator: ";"))}\n"
      if !rule.coloured.isEmpty { dark += "\(rule.selector){\(resolved(rule.coloured, .dark))}\n" }
    }
    return css + "@media (prefers-color-scheme:dark){\n\(dark)}\n"
  }
}
