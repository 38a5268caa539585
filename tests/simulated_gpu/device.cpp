// A CUDA device for a PyTorch that was built without CUDA: its memory is the host's, its arithmetic
// that of the CPU's kernels. The dispatcher, autograd's threads, storages and generators all see a
// device of type CUDA, and what a GPU refuses is refused: tensors of two devices in one operation,
// grouped products of unaligned rows. Calls are counted, among them those that wait for the GPU.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "grouped.h"

namespace {

using at::Tensor;
using c10::Device;
using c10::DeviceType;
using c10::IValue;

Device gpu() { return {DeviceType::CUDA, 0}; }

// ---- Memory

std::atomic<int64_t> in_use{0}, most{0};

struct Block {
  void* start;
  int64_t bytes;
};

void release(void* context) {
  auto* block = static_cast<Block*>(context);
  in_use -= block->bytes;
  std::free(block->start);
  delete block;
}

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, gpu()};
    auto* block = new Block{std::aligned_alloc(512, (bytes + 511) / 512 * 512), int64_t(bytes)};
    const int64_t now = in_use += block->bytes;
    for (int64_t seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
    }
    // A GPU does not clear what it gives either; all ones are no number.
    std::memset(block->start, 0xff, bytes);
    return {block->start, block, &release, gpu()};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
};

Memory memory;
REGISTER_ALLOCATOR(DeviceType::CUDA, &memory)

// ---- What PyTorch asks a device for

struct Guard final : c10::impl::NoOpDeviceGuardImpl<DeviceType::CUDA> {
  static c10::Stream usual() { return c10::Stream(c10::Stream::DEFAULT, gpu()); }
  Device exchangeDevice(Device) const override { return gpu(); }
  Device getDevice() const override { return gpu(); }
  c10::Stream getStream(Device) const noexcept override { return usual(); }
  c10::Stream getDefaultStream(Device) const override { return usual(); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return usual(); }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard)

// A generator that says it is the GPU's; the CPU's kernels draw from its twin.
struct Generator final : at::CPUGeneratorImpl {
  at::Generator twin;
  explicit Generator(at::Generator from) : CPUGeneratorImpl(from.current_seed()), twin(from) {
    device_ = gpu();
  }
  void set_current_seed(uint64_t seed) override { twin.set_current_seed(seed); }
  uint64_t current_seed() const override { return twin.current_seed(); }
  uint64_t seed() override { return twin.seed(); }
  void set_state(const c10::TensorImpl& state) override {
    twin.unsafeGetGeneratorImpl()->set_state(state);
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return twin.unsafeGetGeneratorImpl()->get_state();
  }
};

struct CUDAHooks final : at::CUDAHooksInterface {
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isBuilt() const { return true; }  // newer than the oldest PyTorch that is supported
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  int getNumGPUs() const override { return 1; }
  at::Generator getNewGenerator(c10::DeviceIndex = -1) const override {
    return at::make_generator<::Generator>(at::detail::createCPUGenerator());
  }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex = -1) const override {
    static const auto* usual = new at::Generator(getNewGenerator());
    return *usual;
  }
};

// ---- Operations

std::mutex counting;
std::map<std::string, int64_t> calls;

void count(const std::string& name) {
  const std::lock_guard<std::mutex> held(counting);
  ++calls[name];
}

// The same memory, seen from the other side.
Tensor aliased(const Tensor& from, DeviceType type) {
  auto* kept = new c10::Storage(from.storage());
  const auto forget = [](void* p) { delete static_cast<c10::Storage*>(p); };
  const Device device = type == DeviceType::CUDA ? gpu() : Device(type);
  c10::Storage storage(
      c10::Storage::use_byte_size_t(), kept->nbytes(),
      c10::DataPtr(kept->mutable_data(), kept, forget, device), c10::GetAllocator(type), false);
  const auto key = type == DeviceType::CUDA ? c10::DispatchKey::CUDA : c10::DispatchKey::CPU;
  Tensor out = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), c10::DispatchKeySet(key), from.dtype());
  auto* made = out.unsafeGetTensorImpl();
  made->set_sizes_and_strides(from.sizes(), from.strides(), from.storage_offset());
  if (from.unsafeGetTensorImpl()->is_wrapped_number()) made->set_wrapped_number(true);
  return out;
}

// The tensors of one call, on their way to the host and back.
struct Call {
  std::string name;
  std::vector<std::pair<Tensor, Tensor>> pairs;

  // An index may lie on the host, as on a GPU.
  bool may_mix() const {
    static const std::set<std::string> known{
        "aten::index", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"};
    return known.count(name) > 0;
  }

  Tensor to_host(const Tensor& t) {
    if (!t.defined()) return t;
    if (!t.is_cuda()) {
      TORCH_CHECK(
          (t.dim() == 0 && t.device().is_cpu()) || may_mix(),
          "Expected all tensors to be on the same device, but found cuda:0 and ", t.device(),
          " in ", name);
      return t;
    }
    // What is empty may be an output that is yet to be given its size.
    const bool filled = t.storage().nbytes() > 0;
    Tensor host = filled ? aliased(t, DeviceType::CPU)
                         : at::empty_strided(t.sizes(), t.strides(), t.dtype());
    pairs.emplace_back(host, t);
    return host;
  }

  Tensor from_host(const Tensor& t) {
    if (!t.defined() || !t.device().is_cpu()) return t;
    for (const auto& [host, original] : pairs) {
      if (!host.is_same(t)) continue;
      auto* changed = original.unsafeGetTensorImpl();
      if (original.storage().nbytes() == 0 && host.storage().nbytes() > 0)
        changed->set_storage_keep_dtype(aliased(host, DeviceType::CUDA).storage());
      if (host.sizes() != original.sizes() || host.strides() != original.strides())
        changed->set_sizes_and_strides(host.sizes(), host.strides(), host.storage_offset());
      return original;
    }
    return aliased(t, DeviceType::CUDA);
  }

  IValue argument(const IValue& value) {
    if (value.isTensor()) return to_host(value.toTensor());
    if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& t : value.toTensorVector()) list.push_back(to_host(t));
      return list;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> list;
      for (const auto& t : value.toOptionalTensorVector())
        list.push_back(t ? std::optional<Tensor>(to_host(*t)) : t);
      return list;
    }
    if (value.isDevice() && value.toDevice().is_cuda()) return Device(DeviceType::CPU);
    if (value.isGenerator() && value.toGenerator().device().is_cuda())
      return static_cast<Generator*>(value.toGenerator().unsafeGetGeneratorImpl())->twin;
    return value;
  }

  IValue result(const IValue& value) {
    if (value.isTensor()) return from_host(value.toTensor());
    if (!value.isTensorList()) return value;
    c10::List<Tensor> list;
    for (const Tensor& t : value.toTensorVector()) list.push_back(from_host(t));
    return list;
  }
};

void on_host(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  Call call{op.schema().operator_name().name, {}};
  count(call.name);
  for (size_t i = stack->size() - op.schema().arguments().size(); i < stack->size(); ++i)
    (*stack)[i] = call.argument((*stack)[i]);
  op.callBoxed(stack);
  for (size_t i = stack->size() - op.schema().returns().size(); i < stack->size(); ++i)
    (*stack)[i] = call.result((*stack)[i]);
}

Tensor empty_strided(
    at::IntArrayRef sizes, at::IntArrayRef strides, std::optional<at::ScalarType> type,
    std::optional<at::Layout>, std::optional<Device>, std::optional<bool>) {
  const auto dtype = c10::scalarTypeToTypeMeta(c10::dtype_or_default(type));
  const auto bytes = at::detail::computeStorageNbytes(sizes, strides, dtype.itemsize());
  c10::Storage storage(c10::Storage::use_byte_size_t(), bytes, &memory, true);
  Tensor out = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CUDA), dtype);
  out.unsafeGetTensorImpl()->set_sizes_and_strides(sizes, strides);
  return out;
}

Tensor empty(
    at::IntArrayRef sizes, std::optional<at::ScalarType> type, std::optional<at::Layout> layout,
    std::optional<Device> device, std::optional<bool> pinned, std::optional<at::MemoryFormat>) {
  return empty_strided(sizes, at::detail::defaultStrides(sizes), type, layout, device, pinned);
}

Tensor& copy_(Tensor& to, const Tensor& from, bool non_blocking) {
  if (to.is_cpu()) count("to host");
  if (from.is_cpu()) count("to device");
  Tensor target = to.is_cuda() ? aliased(to, DeviceType::CPU) : to;
  target.copy_(from.is_cuda() ? aliased(from, DeviceType::CPU) : from, non_blocking);
  return to;
}

Tensor grouped_mm(
    const Tensor& a, const Tensor& b, const std::optional<Tensor>& ends,
    const std::optional<Tensor>& bias, std::optional<at::ScalarType> type) {
  count("aten::_grouped_mm");
  TORCH_CHECK(ends && ends->is_cuda(), "the ends of groups are read on the GPU");
  check_grouped(a, b, aliased(*ends, DeviceType::CPU), bias, type);
  const auto host = [](const Tensor& t) { return aliased(t, DeviceType::CPU); };
  return aliased(at::_grouped_mm(host(a), host(b), host(*ends), bias, type), DeviceType::CUDA);
}

}  // namespace

using at::CUDAHooksRegistry;
namespace at {
using ::CUDAHooks;
REGISTER_CUDA_HOOKS(CUDAHooks)
}  // namespace at

TORCH_LIBRARY_IMPL(_, CUDA, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_host>());
}

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("copy_", &copy_);
  m.impl("_grouped_mm", &grouped_mm);
  m.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  m.impl("view", TORCH_FN(at::native::view));
  m.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  m.impl("resize_", TORCH_FN(at::native::resize_));
}

extern "C" int64_t simulated_most_memory() { return most; }
extern "C" int64_t simulated_calls(const char* name) {
  const std::lock_guard<std::mutex> held(counting);
  const auto found = calls.find(name);
  return found == calls.end() ? 0 : found->second;
}
