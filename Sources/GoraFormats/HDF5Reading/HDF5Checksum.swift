/// The checksum of HDF5's metadata: Bob Jenkins' lookup3 (`hashlittle`) with the start value 0.
func hdf5Checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
  bytes.withUnsafeBytes { bytes in
    func word(_ at: Int) -> UInt32 {
      var word: UInt32 = 0
      for i in 0..<4 where at + i < bytes.count { word |= UInt32(bytes[at + i]) << UInt32(8 * i) }
      return word
    }
    func rotate(_ x: UInt32, _ k: UInt32) -> UInt32 { x << k | x >> (32 - k) }
    var a = 0xDEAD_BEEF &+ UInt32(truncatingIfNeeded: bytes.count)
    var (b, c) = (a, a)
    var at = 0
    while bytes.count - at > 12 {
      (a, b, c) = (a &+ word(at), b &+ word(at + 4), c &+ word(at + 8))
      a = (a &- c) ^ rotate(c, 4)
      c = c &+ b
      b = (b &- a) ^ rotate(a, 6)
      a = a &+ c
      c = (c &- b) ^ rotate(b, 8)
      b = b &+ a
      a = (a &- c) ^ rotate(c, 16)
      c = c &+ b
      b = (b &- a) ^ rotate(a, 19)
      a = a &+ c
      c = (c &- b) ^ rotate(b, 4)
      b = b &+ a
      at += 12
    }
    if at == bytes.count { return c }
    (a, b, c) = (a &+ word(at), b &+ word(at + 4), c &+ word(at + 8))
    c = (c ^ b) &- rotate(b, 14)
    a = (a ^ c) &- rotate(c, 11)
    b = (b ^ a) &- rotate(a, 25)
    c = (c ^ b) &- rotate(b, 16)
    a = (a ^ c) &- rotate(c, 4)
    b = (b ^ a) &- rotate(a, 14)
    c = (c ^ b) &- rotate(b, 24)
    return c
  }
}
