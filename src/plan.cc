// SPDX-License-Identifier: Apache-2.0
#include "src/plan.h"

#include <strings.h>

#include <algorithm>
#include <new>

#include "hwy/targets.h"
#include "src/element.h"
#include "src/error.h"

namespace peakpool {
namespace {

// The targets that both this build and this machine have, best first. Which ones the build has only the kernels' own
// translation units know, so each candidate is asked for and counted if it is what comes back.
struct Targets {
  static constexpr int kMost = 16;
  int64_t target[kMost];
  int count = 0;

  Targets() {
    // Highway numbers better targets lower.
    for (int64_t rest = hwy::SupportedTargets(); rest != 0 && count < kMost; rest &= rest - 1) {
      const int64_t candidate = rest & -rest;
      const Kernels* kernels = F32Kernels(candidate);
      if (kernels != nullptr && kernels->target == candidate) target[count++] = candidate;
    }
  }
};

const Targets& UsableTargets() {
  static const Targets targets;
  return targets;
}

const Kernels* KernelsFor(int32_t type, int64_t targets) {
  switch (type) {
#define PEAKPOOL_KERNELS_OF(Name, Element) \
  case PEAKPOOL_##Name: return Name##Kernels(targets);
    PEAKPOOL_FOR_EACH_TYPE(PEAKPOOL_KERNELS_OF)
#undef PEAKPOOL_KERNELS_OF
    default: return nullptr;
  }
}

// No vectors: every algorithm is im2col.
constexpr char kNoTarget[] = "none";

// 0 for none.
peakpool_status FindTarget(const char* name, int64_t* target) {
  const Targets& usable = UsableTargets();
  if (name != nullptr && strcasecmp(name, kNoTarget) == 0) {
    *target = 0;
    return PEAKPOOL_OK;
  }
  if (name == nullptr) {
    *target = usable.count > 0 ? usable.target[0] : 0;
    return PEAKPOOL_OK;
  }
  for (int i = 0; i < usable.count; ++i) {
    if (strcasecmp(name, hwy::TargetName(usable.target[i])) == 0) {
      *target = usable.target[i];
      return PEAKPOOL_OK;
    }
  }
  return Fail(PEAKPOOL_UNSUPPORTED, "target = \"%.40s\": not in this build or not run by this machine", name);
}

ForwardKernel ForwardKernelOf(const Kernels& kernels, Algorithm algorithm, bool channels_last) {
  switch (algorithm) {
    case Algorithm::kWindow: return channels_last ? kernels.window_channels_last : kernels.window_channels_first;
    case Algorithm::kWide: return channels_last ? kernels.wide_channels_last : kernels.wide_channels_first;
    case Algorithm::kSeparable: return kernels.separable;
    default: return nullptr;
  }
}

BackwardKernel BackwardKernelOf(const Kernels& kernels, Algorithm algorithm, bool channels_last) {
  if (algorithm != Algorithm::kGather) return nullptr;
  return channels_last ? kernels.gather_channels_last : kernels.gather_channels_first;
}

}  // namespace

const char* TargetName(int i) {
  const Targets& usable = UsableTargets();
  if (i == 0 && usable.count == 0) return kNoTarget;
  return i >= 0 && i < usable.count ? hwy::TargetName(usable.target[i]) : nullptr;
}

peakpool_status MakePlan(const peakpool_problem& problem, peakpool_plan** result) {
  Shape shape;
  if (peakpool_status s = ResolveShape(problem, &shape)) return s;
  int64_t target = 0;
  if (peakpool_status s = FindTarget(problem.target, &target)) return s;
  peakpool_plan* plan = new (std::nothrow) peakpool_plan;
  if (plan == nullptr) return Fail(PEAKPOOL_OUT_OF_MEMORY, "plan: %zu bytes could not be allocated", sizeof(*plan));
  plan->problem = problem;
  plan->problem.target = nullptr;
  plan->shape = shape;
  plan->kernels = target == 0 ? nullptr : KernelsFor(problem.type, target);
  plan->index_kernels = target == 0 ? nullptr : IndexKernelsFor(target);
  plan->forward = ChooseForward(shape);
  plan->backward = ChooseBackward(shape);
  plan->forward_kernel = nullptr;
  plan->backward_kernel = nullptr;
  if (plan->kernels == nullptr) {
    const char* const why = problem.target != nullptr && UsableTargets().count > 0
                                ? "target none was asked for"
                                : "this machine runs no vector target of this build";
    plan->forward = plan->backward = {Algorithm::kIm2col, why, nullptr, nullptr};
  } else {
    const Kernels& kernels = *plan->kernels;
    const bool last = shape.geometry.channels_last;
    constexpr const char* kWhy = "it has no kernel for this element type";
    plan->forward_kernel = ForwardKernelOf(kernels, plan->forward.algorithm, last);
    if (plan->forward_kernel == nullptr && plan->forward.algorithm != Algorithm::kIm2col) {
      plan->forward = {Algorithm::kSeparable, "takes every geometry", AlgorithmName(plan->forward.algorithm), kWhy};
      plan->forward_kernel = kernels.separable;
    }
    plan->backward_kernel = BackwardKernelOf(kernels, plan->backward.algorithm, last);
    if (plan->backward_kernel == nullptr && plan->backward.algorithm == Algorithm::kGather) {
      plan->backward = {Algorithm::kScatter, "takes every geometry", "gather", kWhy};
    }
  }
  plan->has_gaps = std::min(DenseExtent(shape.geometry, shape.geometry.input, false),
                            DenseExtent(shape.geometry, shape.geometry.output, true)) < kTensor;
  plan->few.outputs = 0;
  if (plan->forward_kernel != nullptr) ListFewTaps(shape, &plan->few);
  *result = plan;
  return PEAKPOOL_OK;
}

}  // namespace peakpool
