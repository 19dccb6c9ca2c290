// One LSTM layer over one window, forward and backward, for PyTorch on a CPU.
//
// The equations are those of lstmbench.reference. The hidden units are divided among the threads.
// A thread multiplies only the columns of the recurrent kernel that belong to its units, which stay
// in its own cache, and at once does all the element-wise work of these units, in one pass. So the
// threads meet once in each step, to exchange h (forward) or the raw gates' gradients (backward).
//
// Shapes: T steps, B batch, H hidden, V symbols. A part of the units is `width` units from `first`
// on. Arrays of four gates keep those of one part together, in the order i, f, g, o: all of part 0,
// then all of part 1. `kernel` holds an array [H, 4 * width] for each part.

#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/cpu/vec/vec.h>
#include <omp.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

// The BLAS that PyTorch was built with; its Fortran interface is the one that all of them have.
extern "C" {
void sgemm_(const char*, const char*, const int*, const int*, const int*, const float*,
            const float*, const int*, const float*, const int*, const float*, float*, const int*);
void dgemm_(const char*, const char*, const int*, const int*, const int*, const double*,
            const double*, const int*, const double*, const int*, const double*, double*,
            const int*);
}

namespace {

using at::Tensor;

// The smallest share of the units: one row of a vector register's worth of cache lines.
constexpr int64_t GRAIN = 16;

struct Part {
  int64_t first, width;
};

std::vector<Part> parts(int64_t hidden, int64_t threads) {
  const int64_t grains = (hidden + GRAIN - 1) / GRAIN;
  const int64_t count = std::max<int64_t>(1, std::min(threads, grains));
  std::vector<Part> found;
  for (int64_t index = 0; index < count; ++index) {
    const int64_t begin = std::min(hidden, index * grains / count * GRAIN);
    const int64_t end = std::min(hidden, (index + 1) * grains / count * GRAIN);
    found.push_back({begin, end - begin});
  }
  return found;
}

// C[m, n] = A[m, k] B[k, n], all row-major: of column-major C', it is B' A'.
template <typename T>
void product(int m, int n, int k, const T* a, int lda, const T* b, int ldb, T* c, int ldc) {
  const T one = 1, zero = 0;
  if constexpr (std::is_same_v<T, float>)
    sgemm_("N", "N", &n, &m, &k, &one, b, &ldb, a, &lda, &zero, c, &ldc);
  else
    dgemm_("N", "N", &n, &m, &k, &one, b, &ldb, a, &lda, &zero, c, &ldc);
}

// Runs `work(thread)` on as many threads as there are parts; they may meet at a barrier.
template <typename F>
void together(int64_t count, const F& work) {
#pragma omp parallel num_threads(count)
  work(omp_get_thread_num());
}

template <typename T>
inline at::vec::Vectorized<T> sigmoid(at::vec::Vectorized<T> x) {
  using V = at::vec::Vectorized<T>;
  return V(1) / (V(1) + x.neg().exp());
}

// The gates, cell and hidden state of `width` units of one sequence. `gates` holds the products of
// h with the kernel; `added` the rest of the raw gates.
template <typename T>
void units_forward(int64_t width, const T* added, const T* before, T* gates, T* cell, T* tanh_cell,
                   T* hidden) {
  using V = at::vec::Vectorized<T>;
  for (int64_t k = 0; k < width; k += V::size()) {
    const int64_t n = std::min<int64_t>(V::size(), width - k);
    auto load = [&](const T* from) { return n == V::size() ? V::loadu(from) : V::loadu(from, n); };
    auto raw = [&](int64_t gate) {
      const int64_t at = gate * width + k;
      return load(gates + at) + load(added + at);
    };
    const V i = sigmoid<T>(raw(0)), f = sigmoid<T>(raw(1)), g = raw(2).tanh(), o = sigmoid<T>(raw(3));
    const V c = f * load(before + k) + i * g;
    const V tanh_c = c.tanh();
    i.store(gates + k, n);
    f.store(gates + width + k, n);
    g.store(gates + 2 * width + k, n);
    o.store(gates + 3 * width + k, n);
    c.store(cell + k, n);
    tanh_c.store(tanh_cell + k, n);
    (o * tanh_c).store(hidden + k, n);
  }
}

// From dL/dh and dL/dc of `width` units of one sequence to those of the raw gates and of the cell
// before, which replaces `d_cell`.
template <typename T>
void units_backward(int64_t width, const T* gates, const T* before, const T* tanh_cell,
                    const T* above, const T* carried, T* d_cell, T* d_raw) {
  using V = at::vec::Vectorized<T>;
  const V one(1);
  for (int64_t k = 0; k < width; k += V::size()) {
    const int64_t n = std::min<int64_t>(V::size(), width - k);
    auto load = [&](const T* from) { return n == V::size() ? V::loadu(from) : V::loadu(from, n); };
    const V i = load(gates + k), f = load(gates + width + k), g = load(gates + 2 * width + k),
            o = load(gates + 3 * width + k), tanh_c = load(tanh_cell + k);
    const V d_h = load(above + k) + load(carried + k);
    const V d_c = load(d_cell + k) + d_h * o * (one - tanh_c * tanh_c);
    (d_c * g * i * (one - i)).store(d_raw + k, n);
    (d_c * load(before + k) * f * (one - f)).store(d_raw + width + k, n);
    (d_c * i * (one - g * g)).store(d_raw + 2 * width + k, n);
    (d_h * tanh_c * o * (one - o)).store(d_raw + 3 * width + k, n);
    (d_c * f).store(d_cell + k, n);
  }
}

template <typename T>
void forward_window(const Tensor& added, const Tensor& rows, const Tensor& kernel, Tensor& gates,
                    Tensor& cells, Tensor& tanh_cells, Tensor& hiddens, int64_t threads) {
  const int64_t steps = tanh_cells.size(0), batch = tanh_cells.size(1), hidden = tanh_cells.size(2);
  const auto division = parts(hidden, threads);
  const T* const added_ = added.const_data_ptr<T>();
  const int64_t* const rows_ = rows.const_data_ptr<int64_t>();
  const T* const kernel_ = kernel.const_data_ptr<T>();
  T *const gates_ = gates.data_ptr<T>(), *const cells_ = cells.data_ptr<T>(),
    *const tanh_ = tanh_cells.data_ptr<T>(), *const hiddens_ = hiddens.data_ptr<T>();
  const int64_t size = batch * hidden;
  together(division.size(), [&](int64_t thread) {
    const auto [first, width] = division[thread];
    const T* const own_kernel = kernel_ + hidden * 4 * first;
    T* own_gates = gates_ + steps * batch * 4 * first;
    for (int64_t t = 0; t < steps; ++t, own_gates += batch * 4 * width) {
      product<T>(batch, 4 * width, hidden, hiddens_ + t * size, hidden, own_kernel, 4 * width,
                 own_gates, 4 * width);
      for (int64_t b = 0; b < batch; ++b) {
        const int64_t at = t * size + b * hidden + first;
        units_forward<T>(width, added_ + rows_[t * batch + b] * 4 * hidden + 4 * first, cells_ + at,
                         own_gates + b * 4 * width, cells_ + at + size, tanh_ + at,
                         hiddens_ + at + size);
      }
#pragma omp barrier
    }
  });
}

template <typename T>
void backward_window(const Tensor& above, const Tensor& transposed, const Tensor& gates,
                     const Tensor& cells, const Tensor& tanh_cells, Tensor& d_raw,
                     Tensor& carried, Tensor& d_cell, int64_t threads) {
  const int64_t steps = tanh_cells.size(0), batch = tanh_cells.size(1), hidden = tanh_cells.size(2);
  const auto division = parts(hidden, threads);
  const T *const above_ = above.const_data_ptr<T>(), *const transposed_ = transposed.const_data_ptr<T>(),
                 *const gates_ = gates.const_data_ptr<T>(), *const cells_ = cells.const_data_ptr<T>(),
                 *const tanh_ = tanh_cells.const_data_ptr<T>();
  T *const d_raw_ = d_raw.data_ptr<T>(), *const carried_ = carried.data_ptr<T>(),
    *const d_cell_ = d_cell.data_ptr<T>();
  const int64_t size = batch * hidden;
  together(division.size(), [&](int64_t thread) {
    const auto [first, width] = division[thread];
    const T* const own_kernel = transposed_ + 4 * hidden * first;
    const T* const own_gates = gates_ + steps * batch * 4 * first;
    T* const own_carried = carried_ + batch * first;
    for (int64_t t = steps - 1; t >= 0; --t) {
      for (int64_t b = 0; b < batch; ++b) {
        const int64_t at = t * size + b * hidden + first;
        units_backward<T>(width, own_gates + (t * batch + b) * 4 * width, cells_ + at, tanh_ + at,
                          above_ + at, own_carried + b * width, d_cell_ + b * hidden + first,
                          d_raw_ + 4 * (t * size + b * hidden + first));
      }
      if (t == 0) break;
#pragma omp barrier
      product<T>(batch, width, 4 * hidden, d_raw_ + 4 * t * size, 4 * hidden, own_kernel, width,
                 own_carried, width);
    }
  });
}

void forward(const Tensor& added, const Tensor& rows, const Tensor& kernel, Tensor gates,
             Tensor cells, Tensor tanh_cells, Tensor hiddens, int64_t threads) {
  AT_DISPATCH_FLOATING_TYPES(kernel.scalar_type(), "lstm_forward", [&] {
    forward_window<scalar_t>(added, rows, kernel, gates, cells, tanh_cells, hiddens, threads);
  });
}

void backward(const Tensor& above, const Tensor& transposed, const Tensor& gates,
              const Tensor& cells, const Tensor& tanh_cells, Tensor d_raw, Tensor carried,
              Tensor d_cell, int64_t threads) {
  AT_DISPATCH_FLOATING_TYPES(gates.scalar_type(), "lstm_backward", [&] {
    backward_window<scalar_t>(above, transposed, gates, cells, tanh_cells, d_raw, carried, d_cell,
                              threads);
  });
}

}  // namespace

TORCH_LIBRARY(lstmbench, library) {
  library.def(
      "lstm_forward(Tensor added, Tensor rows, Tensor kernel, Tensor(a!) gates, Tensor(b!) cells, "
      "Tensor(c!) tanh_cells, Tensor(d!) hiddens, int threads) -> ()");
  library.def(
      "lstm_backward(Tensor above, Tensor transposed, Tensor gates, Tensor cells, "
      "Tensor tanh_cells, Tensor(a!) d_raw, Tensor(b!) carried, Tensor(c!) d_cell, int threads) -> "
      "()");
}

TORCH_LIBRARY_IMPL(lstmbench, CPU, library) {
  library.impl("lstm_forward", forward);
  library.impl("lstm_backward", backward);
}
