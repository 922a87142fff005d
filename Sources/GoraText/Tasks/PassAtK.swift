/// The chance that one of `k` programs solves a problem, of which `correct` of `samples` that were tried do: 1 − C(n−c, k)/C(n, k), without
/// bias (Chen et al. 2021, equation 1).
///
/// - Precondition: 0 ≤ correct ≤ samples, 1 ≤ k ≤ samples.
package func passAtK(correct: Int, of samples: Int, k: Int) -> Double {
  precondition((0...samples).contains(correct) && (1...samples).contains(k))
  // Some of any k are right.
  if samples - correct < k { return 1 }
  var missed = 1.0
  for i in (samples - correct + 1)..<(samples + 1) { missed *= 1 - Double(k) / Double(i) }
  return 1 - missed
}
