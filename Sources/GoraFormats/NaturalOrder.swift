/// Whether `a` comes before `b` where runs of digits count as numbers: layer 2 before layer 10.
///
/// A total order of distinct names: names that differ in leading zeros alone are ordered by their bytes.
package func naturallyPrecedes(_ a: String, _ b: String) -> Bool {
  let (x, y) = (Array(a.utf8), Array(b.utf8))
  var (i, j) = (0, 0)
  while i < x.count, j < y.count {
    let (m, n) = (digits(x, i), digits(y, j))
    if m.isEmpty || n.isEmpty {
      if x[i] != y[j] { return x[i] < y[j] }
      i += 1
      j += 1
      continue
    }
    let (p, q) = (x[m].drop { $0 == 0x30 }, y[n].drop { $0 == 0x30 })
    if p.count != q.count { return p.count < q.count }
    if !p.elementsEqual(q) { return p.lexicographicallyPrecedes(q) }
    (i, j) = (m.upperBound, n.upperBound)
  }
  if i < x.count || j < y.count { return i >= x.count }
  return x.lexicographicallyPrecedes(y)
}

/// The run of ASCII digits that starts at `start`.
private func digits(_ text: [UInt8], _ start: Int) -> Range<Int> {
  var end = start
  while end < text.count, 0x30...0x39 ~= text[end] { end += 1 }
  return start..<end
}
