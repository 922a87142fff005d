// A draw from a distribution's most likely elements, without sorting them.
#include "gora_kernels.h"

#include <float.h>
#include <string.h>

enum { digit_bits = 10, digits = 1 << digit_bits };

// What belongs to the nucleus: all above a weight, and so many of those that are equal to it.
typedef struct {
  uint32_t threshold;  // the weight's bits: of numbers from 0 on these are in order, like the numbers
  size_t equal;
  double mass;
} nucleus;

static uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

// The last element of the nucleus is looked for digit by digit, from the highest of three: where the mass from the top down reaches
// its share. Weights are at most 1, whose bits are below 2^30.
static nucleus nucleus_of(const float *w, size_t n, double total, double top_p) {
  double share = top_p * total, above = 0;
  uint32_t prefix = 0;
  for (int shift = 2 * digit_bits; shift >= 0; shift -= digit_bits) {
    double mass[digits] = {0};
    for (size_t i = 0; i < n; i++) {
      uint32_t bits = bits_of(w[i]);
      if ((uint64_t)bits >> (shift + digit_bits) == prefix) mass[bits >> shift & (digits - 1)] += w[i];
    }
    int digit = digits - 1, least = -1;
    for (; digit >= 0 && above + mass[digit] < share; digit--) {
      above += mass[digit];
      if (mass[digit] > 0) least = digit;
    }
    // Sums in another order may fall short of the share by their rounding: then it ends with the least that there is.
    if (digit < 0) {
      digit = least < 0 ? 0 : least;
      above -= mass[digit];
    }
    prefix = prefix << digit_bits | (uint32_t)digit;
  }
  float weight;
  memcpy(&weight, &prefix, sizeof weight);
  size_t there = 0, equal = 0;
  for (size_t i = 0; i < n; i++) there += w[i] == weight;
  do {
    above += weight;
    equal++;
  } while (above < share && equal < there);
  return (nucleus){prefix, equal, above};
}

size_t gora_sample(float *x, size_t n, float temperature, double top_p, double uniform) {
  size_t best = gora_argmax(x, n);
  if (best == n) return n;
  double total = gora_softmax_weights(x, n, x[best], temperature < 1 / FLT_MAX ? FLT_MAX : 1 / temperature);
  nucleus all = {0, n, total};
  nucleus chosen = top_p < 1 ? nucleus_of(x, n, total, top_p) : all;
  double point = uniform * chosen.mass;
  size_t last = best, equal = 0;
  for (size_t i = 0; i < n; i++) {
    uint32_t bits = bits_of(x[i]);
    if (bits < chosen.threshold || (bits == chosen.threshold && equal++ >= chosen.equal)) continue;
    if (x[i] == 0) continue;
    point -= x[i];
    last = i;
    if (point < 0) return i;
  }
  return last;
}
