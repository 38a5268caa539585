// Matrix products of bf16 with sums in fp32, by AVX-512's dot products of pairs.

#pragma once

#include "rows.h"

#if defined(__AVX512BF16__)

namespace {

// Numbers side by side in memory, of one row or, woven, of two: what one instruction multiplies.
typedef uint32_t Pair;

constexpr int64_t ROWS = 4;

struct Left {
    const Pair *at;
    int64_t row, pair;  // steps to the next row, and to its next pair

    Left below(int64_t rows) const { return {at + rows * row, row, pair}; }
};

struct Right {
    const Pair *at;  // [pairs, columns], the two numbers of a pair from rows that follow each other
    int64_t step;
};

template <int VECTORS>
void tile(Left a, Right b, int64_t from, int64_t to, float *out, int64_t step, bool add) {
    __m512 sums[ROWS][VECTORS];
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < VECTORS; v++)
            sums[r][v] = add ? _mm512_loadu_ps(out + r * step + v * 16) : _mm512_setzero_ps();
    for (int64_t i = from; i < to; i++) {
        __m512i right[VECTORS];
        for (int v = 0; v < VECTORS; v++)
            right[v] = _mm512_loadu_si512(b.at + i * b.step + v * 16);
        for (int r = 0; r < ROWS; r++) {
            __m512bh left = (__m512bh)_mm512_set1_epi32(a.at[r * a.row + i * a.pair]);
            for (int v = 0; v < VECTORS; v++)
                sums[r][v] = _mm512_dpbf16_ps(sums[r][v], left, (__m512bh)right[v]);
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < VECTORS; v++) _mm512_storeu_ps(out + r * step + v * 16, sums[r][v]);
}

// ROWS rows of `columns` (a multiple of 16), over the pairs from `from` to `to`.
void product(Left a, Right b, int64_t from, int64_t to, float *out, int64_t step, int64_t columns,
             bool add) {
    for (int64_t c = 0; c < columns; c += 64) {
        Right part{b.at + c, b.step};
        switch (std::min<int64_t>(columns - c, 64) / 16) {
        case 4: tile<4>(a, part, from, to, out + c, step, add); break;
        case 3: tile<3>(a, part, from, to, out + c, step, add); break;
        case 2: tile<2>(a, part, from, to, out + c, step, add); break;
        default: tile<1>(a, part, from, to, out + c, step, add);
        }
    }
}

// Two rows, number by number side by side.
void weave(const uint16_t *even, const uint16_t *odd, Pair *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = Pair(even[i]) | Pair(odd[i]) << 16;
}

Words weave(Vector even, Vector odd) {
    return widened(halves(even)) | widened(halves(odd)) << 16;
}

// 16 rows of 16 pairs become columns: pairs of pairs change places at distances 1, 2, 4 and 8.
void transpose_square(const Pair *from, int64_t step, Pair *out, int64_t width) {
    __m512i a[16], b[16];
    for (int r = 0; r < 16; r++) a[r] = _mm512_loadu_si512(from + r * step);
    for (int r = 0; r < 16; r += 2) {
        b[r] = _mm512_unpacklo_epi32(a[r], a[r + 1]);
        b[r + 1] = _mm512_unpackhi_epi32(a[r], a[r + 1]);
    }
    for (int r = 0; r < 16; r += 4)
        for (int i = 0; i < 2; i++) {
            a[r + 2 * i] = _mm512_unpacklo_epi64(b[r + i], b[r + 2 + i]);
            a[r + 2 * i + 1] = _mm512_unpackhi_epi64(b[r + i], b[r + 2 + i]);
        }
    for (int r = 0; r < 16; r += 8)
        for (int i = 0; i < 4; i++) {
            b[r + i] = _mm512_shuffle_i32x4(a[r + i], a[r + 4 + i], 0x88);
            b[r + 4 + i] = _mm512_shuffle_i32x4(a[r + i], a[r + 4 + i], 0xdd);
        }
    for (int i = 0; i < 8; i++) {
        a[i] = _mm512_shuffle_i32x4(b[i], b[8 + i], 0x88);
        a[8 + i] = _mm512_shuffle_i32x4(b[i], b[8 + i], 0xdd);
    }
    for (int i = 0; i < 16; i++) _mm512_storeu_si512(out + i * width, a[i]);
}

// The transpose of `rows` rows, as a Right of `width` columns.
void transpose(const uint16_t *from, int64_t step, int64_t rows, int64_t size, Pair *out,
               int64_t width) {
    int64_t whole = size % 32 || step % 2 ? 0 : rows / 16 * 16;
    for (int64_t r = 0; r < whole; r += 16)
        for (int64_t i = 0; i < size / 2; i += 16)
            transpose_square(reinterpret_cast<const Pair *>(from + r * step) + i, step / 2,
                             out + i * width + r, width);
    for (int64_t r = whole; r < rows; r++)
        for (int64_t i = 0; i < size / 2; i++)
            std::memcpy(out + i * width + r, from + r * step + 2 * i, sizeof(Pair));
}

}  // namespace

#endif
