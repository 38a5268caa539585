// Rotary positions: number i of a head turns with number i + size / 2, by the angle of its token.

#pragma once

#include "rows.h"

namespace {

struct Rotary {
    const float *cos, *sin;  // [B or 1, T, size / 2]; none where heads have no positions
    int64_t row;             // from row to row of the batch, 0 where they share one

    // In place; `way` is 1, or -1 to turn back.
    template <class T> void turn(T *head, int64_t size, int64_t b, int64_t t, float way) const {
        if (!cos) return;
        int64_t half = size / 2, at = b * row + t * half;
        along(0, half, [=](int64_t i, auto n) {
            Vector c = load(cos + at + i, n), s = load(sin + at + i, n) * way;
            Vector first = load(head + i, n), second = load(head + half + i, n);
            store(head + i, first * c - second * s, n);
            store(head + half + i, second * c + first * s, n);
        });
    }
};

}  // namespace
