// Matrix products of bf16 on the tiles of Intel's matrix units (AMX), where system and chip have them.

#pragma once

#include "tiles.h"

#if defined(__AVX512BF16__)
#if defined(__AMX_BF16__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr int64_t SIDE = 16;  // rows, and pairs or sums of a row, of a tile

// GCC does not know what of memory the instructions below read and write.
void settle(const void *memory = nullptr) { asm volatile("" ::"r"(memory) : "memory"); }

// Whether Linux gives this process the tiles; it has to be asked once.
bool matrix_units() {
    constexpr int ASK = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    static const bool given = syscall(SYS_arch_prctl, ASK, TILE_DATA) == 0;
    return given;
}

// All tiles as large as they get while this lives. Others (oneDNN) may rely on what they set before,
// so it is put back.
class Tiles {
    struct alignas(64) Shapes {
        uint8_t palette, start, unused[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    };
    Shapes before{};
    const bool used;

  public:
    explicit Tiles(bool used) : used(used) {
        if (!used) return;
        Shapes whole{};
        whole.palette = 1;
        for (int i = 0; i < 8; i++) whole.bytes[i] = SIDE * sizeof(Pair), whole.rows[i] = SIDE;
        _tile_storeconfig(&before);
        settle(&before);
        settle(&whole);
        _tile_loadconfig(&whole);
    }
    ~Tiles() {
        if (used) _tile_loadconfig(&before);
    }
    Tiles(const Tiles &) = delete;
    Tiles &operator=(const Tiles &) = delete;
};

template <int COUNT> void load_sums(const float *out, int64_t step, bool add) {
    int64_t bytes = step * sizeof(float);
    if (!add) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        return;
    }
    _tile_loadd(0, out, bytes);
    if constexpr (COUNT > 1) _tile_loadd(1, out + SIDE, bytes);
    if constexpr (COUNT > 2) _tile_loadd(2, out + 2 * SIDE, bytes);
    if constexpr (COUNT > 3) _tile_loadd(3, out + 3 * SIDE, bytes);
}

template <int COUNT> void store_sums(float *out, int64_t step) {
    int64_t bytes = step * sizeof(float);
    _tile_stored(0, out, bytes);
    if constexpr (COUNT > 1) _tile_stored(1, out + SIDE, bytes);
    if constexpr (COUNT > 2) _tile_stored(2, out + 2 * SIDE, bytes);
    if constexpr (COUNT > 3) _tile_stored(3, out + 3 * SIDE, bytes);
}

// SIDE rows times COUNT tiles beside each other.
template <int COUNT>
void wide_tile(Left a, Right b, int64_t from, int64_t to, float *out, int64_t step, bool add) {
    int64_t left = a.row * sizeof(Pair), right = b.step * sizeof(Pair);
    load_sums<COUNT>(out, step, add);
    for (int64_t i = from; i < to; i += SIDE) {
        const Pair *at = b.at + i * b.step;
        _tile_loadd(4, a.at + i, left);
        _tile_loadd(5, at, right);
        _tile_dpbf16ps(0, 4, 5);
        if constexpr (COUNT > 1) {
            _tile_loadd(6, at + SIDE, right);
            _tile_dpbf16ps(1, 4, 6);
        }
        if constexpr (COUNT > 2) {
            _tile_loadd(7, at + 2 * SIDE, right);
            _tile_dpbf16ps(2, 4, 7);
        }
        if constexpr (COUNT > 3) {
            _tile_loadd(5, at + 3 * SIDE, right);
            _tile_dpbf16ps(3, 4, 5);
        }
    }
    store_sums<COUNT>(out, step);
}

// As `product`, of SIDE rows; pairs of a row lie side by side, and come in multiples of SIDE.
void wide_product(Left a, Right b, int64_t from, int64_t to, float *out, int64_t step,
                  int64_t columns, bool add) {
    settle();
    for (int64_t c = 0; c < columns; c += 4 * SIDE) {
        Right part{b.at + c, b.step};
        switch (std::min<int64_t>(columns - c, 4 * SIDE) / SIDE) {
        case 4: wide_tile<4>(a, part, from, to, out + c, step, add); break;
        case 3: wide_tile<3>(a, part, from, to, out + c, step, add); break;
        case 2: wide_tile<2>(a, part, from, to, out + c, step, add); break;
        default: wide_tile<1>(a, part, from, to, out + c, step, add);
        }
    }
    settle();
}

}  // namespace

#else

namespace {

constexpr int64_t SIDE = 16;

bool matrix_units() { return false; }

struct Tiles {
    explicit Tiles(bool) {}
};

void wide_product(Left, Right, int64_t, int64_t, float *, int64_t, int64_t, bool) {}

}  // namespace

#endif
#endif
