// What PyTorch's grouped matrix product demands of its operands on a Hopper GPU.

#pragma once

#include <ATen/ATen.h>
#include <ATen/native/GroupedMMUtils.h>

// PyTorch's own checks on the host, then those that its kernel makes on the GPU, where a fault
// would end the process (aten/src/ATen/native/cuda/GroupMMCommon.cuh): groups have sizes of zero or
// more, and start at multiples of 16 bytes where the varying axis is the one that lies densest.
inline void check_grouped(
    const at::Tensor& a, const at::Tensor& b, const at::Tensor& ends,
    const std::optional<at::Tensor>& bias, std::optional<at::ScalarType> type) {
  at::native::_grouped_mm_validate_inputs(a, b, ends, bias, type);
  TORCH_CHECK(a.scalar_type() == at::kBFloat16, "the fast kernel takes bf16 alone");
  const bool inner_varies = a.dim() == 2 && b.dim() == 2;
  const bool aligned = inner_varies && (a.stride(-1) == 1 || b.stride(-2) == 1);
  const int64_t total = inner_varies ? a.size(1) : a.size(0);
  int64_t start = 0;
  for (int64_t i = 0; i < ends.size(0); ++i) {
    const int64_t end = ends[i].item<int32_t>();
    TORCH_CHECK(end >= start && end <= total, "a group of negative size, or past the last row");
    TORCH_CHECK(
        !aligned || i + 1 == ends.size(0) || (end - start) % 8 == 0,
        "a group that does not start at a multiple of 16 bytes");
    start = end;
  }
}
