/// How the decoder's input begins in an encoder-decoder model.
package struct DecoderStart: Sendable, Equatable {
  /// The token before the first that is learnt.
  package var id: Int32
  /// What stands in the decoder's input where a label is not learnt, and behind rows that others padded.
  package var pad: Int32

  package init(id: Int32, pad: Int32) {
    self.id = id
    self.pad = pad
  }
}
