// SPDX-License-Identifier: Apache-2.0
// Measures peakpool against the speed of light and against the peers found beside this executable. One row is one
// Google Benchmark, timed by hand: its time is the shortest round, its counters are
//   sol_ns        the fastest speed-of-light loop
//   ratio         time / speed of light, shortest rounds
//   ratio_median  the same, median over rounds
//   <peer>_ns     the shortest round of each peer that could do the row with the same result
//   bytes         read and written once
// and its label says which loop and which implementation of each peer ran, or why it did not. Rows cliff/PROBLEM have
// a time and bytes alone, and the chosen algorithm as their label.
// Options of our own: --target=AVX2 --peers=onednn,xnnpack (or none) --workloads=FILE --rounds=N --cold, and --calls=N,
// which executes each row N times and measures nothing: the difference between two N under callgrind is exact.
#include <benchmark/benchmark.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "bench/cliff.h"
#include "bench/rounds.h"
#include "bench/task.h"
#include "bench/workloads.h"
#include "peakpool/peakpool.h"
#if PEAKPOOL_HAVE_TBB
#include <oneapi/tbb/global_control.h>
#endif

namespace peakpool_bench {
namespace {

struct Settings {
  std::string target;  // empty: the best
  std::string peers = "onednn,xnnpack,torch,opencv";
  std::string workloads = PEAKPOOL_BENCH_WORKLOADS;
  RoundsOptions rounds;
  int calls = 0;  // measure nothing, only execute
};

Settings settings;
std::vector<const Peer*> peers;
constexpr double kSlowPeer = 0.1;  // one call that takes longer says enough
int differences = 0;               // peers whose result was not ours

void Evict() {
  static std::vector<char> memory(size_t{64} << 20, 1);
  for (size_t i = 0; i < memory.size(); i += 64) ++memory[i];
  benchmark::DoNotOptimize(memory.data());
}

std::string LayoutName(const peakpool_problem& problem) {
  return problem.layout == PEAKPOOL_CHANNELS_LAST ? "nhwc" : "nchw";
}

std::string RowName(const std::string& group, Mode mode, const peakpool_problem& problem, const std::string& name) {
  return (group.empty() ? "" : group + "/") + ModeName(mode) + "/" + TypeName(problem.type) + "/" +
         LayoutName(problem) + "/" + name;
}

const Side& Fastest(const std::vector<Side>& sides) {
  const Side* best = &sides[0];
  for (const Side& side : sides) {
    if (side.Minimum() < best->Minimum()) best = &side;
  }
  return *best;
}

void RunRow(benchmark::State& state, const peakpool_problem& problem, Mode mode, int threads) {
  Task task;
  std::string error;
  if (!task.Prepare(problem, mode, threads, &error)) {
    state.SkipWithError(error.c_str());
    return;
  }
  if (settings.calls != 0) {
    for (int i = 0; i < settings.calls; ++i) task.Execute();
    for (auto _ : state) state.SetIterationTime(1e-9);
    return;
  }
  std::string label;
  std::vector<Side> sides = {task.Ours()};
  std::vector<void*> handles(peers.size(), nullptr);
  for (size_t i = 0; i < peers.size(); ++i) {
    std::string note;
    handles[i] = peers[i]->prepare(task.ForPeers(), &note);
    if (handles[i] != nullptr) {
      const double start = Seconds();
      peers[i]->run(handles[i]);
      const double seconds = Seconds() - start;
      const std::string difference = task.Compare(*peers[i], handles[i]);
      if (difference.empty() && seconds > kSlowPeer) {
        state.counters[std::string(peers[i]->name) + "_ns"] = seconds * 1e9;
        note += " (one call)";
      } else if (difference.empty()) {
        sides.push_back({peers[i]->name, peers[i]->run, handles[i]});
      } else {
        ++differences;
        note += " " + difference;
        std::fprintf(stderr, "%s: %s\n", peers[i]->name, note.c_str());
      }
    }
    label += std::string("; ") + peers[i]->name + " " + note;
  }

  std::vector<Side> loops = task.SpeedOfLight();
  RoundsOptions trial = settings.rounds;
  trial.rounds = 5;
  trial.slot_seconds /= 4;
  trial.side_seconds /= 4;
  RunRounds(&loops, trial);
  const Side loop = Fastest(loops);
  sides.push_back(loop);
  RunRounds(&sides, settings.rounds);

  const Side& ours = sides.front();
  const Side& sol = sides.back();
  for (auto _ : state) state.SetIterationTime(ours.Minimum());
  state.counters["sol_ns"] = sol.Minimum() * 1e9;
  state.counters["ratio"] = ours.Minimum() / sol.Minimum();
  state.counters["ratio_median"] = MedianRatio(ours, sol);
  state.counters["bytes"] = static_cast<double>(task.Bytes());
  for (size_t i = 1; i + 1 < sides.size(); ++i) state.counters[sides[i].name + "_ns"] = sides[i].Minimum() * 1e9;
  state.SetLabel("sol " + loop.name + label);
  for (size_t i = 0; i < peers.size(); ++i) {
    if (handles[i] != nullptr) peers[i]->release(handles[i]);
  }
}

void AddRow(const std::string& group, const std::string& name, peakpool_problem problem, Mode mode, int threads) {
  problem.target = settings.target.empty() ? nullptr : settings.target.c_str();
  const std::string row = RowName(group, mode, problem, name) + "/t" + std::to_string(threads);
  benchmark::RegisterBenchmark(row.c_str(), [=](benchmark::State& state) { RunRow(state, problem, mode, threads); })
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

struct Variant {
  peakpool_problem problem;
  int threads;
};

// Two variants of one problem, interleaved: the time is a's, `ratio` is a / b.
void AddPair(const std::string& group, const std::string& name, Variant a, Variant b, Mode mode) {
  a.problem.target = b.problem.target = settings.target.empty() ? nullptr : settings.target.c_str();
  const auto run = [=](benchmark::State& state) {
    Task tasks[2];
    std::string error;
    if (!tasks[0].Prepare(a.problem, mode, a.threads, &error) ||
        !tasks[1].Prepare(b.problem, mode, b.threads, &error)) {
      state.SkipWithError(error.c_str());
      return;
    }
    std::vector<Side> sides = {tasks[0].Ours(), tasks[1].Ours()};
    RunRounds(&sides, settings.rounds);
    for (auto _ : state) state.SetIterationTime(sides[0].Minimum());
    state.counters["ratio"] = sides[0].Minimum() / sides[1].Minimum();
    state.counters["ratio_median"] = MedianRatio(sides[0], sides[1]);
    state.counters["bytes"] = static_cast<double>(tasks[0].Bytes());
  };
  benchmark::RegisterBenchmark(RowName(group, mode, a.problem, name).c_str(), run)
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

void AddPlanCreation(const std::string& name, peakpool_problem problem, Mode mode) {
  if (mode != Mode::kForward) problem.index_format = PEAKPOOL_INDEX_WINDOW_U8;
  problem.target = settings.target.empty() ? nullptr : settings.target.c_str();
  const auto run = [=](benchmark::State& state) {
    peakpool_plan* plan = nullptr;
    if (peakpool_plan_create(&problem, &plan) != PEAKPOOL_OK) {
      state.SkipWithError(peakpool_last_error());
      return;
    }
    peakpool_plan_destroy(plan);
    const auto create = [](void* context) {
      peakpool_plan* made = nullptr;
      peakpool_plan_create(static_cast<const peakpool_problem*>(context), &made);
      peakpool_plan_destroy(made);
    };
    std::vector<Side> sides = {{"create", create, const_cast<peakpool_problem*>(&problem)}};
    RunRounds(&sides, settings.rounds);
    for (auto _ : state) state.SetIterationTime(sides[0].Minimum());
  };
  benchmark::RegisterBenchmark(RowName("plan_create", mode, problem, name).c_str(), run)
      ->UseManualTime()
      ->Unit(benchmark::kNanosecond);
}

peakpool_problem Square(int32_t type, int32_t layout, int64_t channels, int64_t height, int64_t width, int64_t kernel,
                        int64_t stride, int64_t pad, int64_t dilation) {
  peakpool_problem p;
  peakpool_problem_init(&p, type, layout, 2);
  p.channels = channels;
  p.input[0] = height;
  p.input[1] = width;
  for (int axis = 0; axis < 2; ++axis) {
    p.kernel[axis] = kernel;
    p.stride[axis] = stride;
    p.dilation[axis] = dilation;
    p.padding[axis] = {pad, pad};
  }
  return p;
}

// Random problems of equal bytes: what counts is how far the slowest lies from the median.
void AddCliffs() {
  for (peakpool_problem problem : EqualProblems(300, 2000000)) {
    char description[512];
    peakpool_describe(&problem, description, sizeof(description));
    problem.target = settings.target.empty() ? nullptr : settings.target.c_str();
    const auto run = [=](benchmark::State& state) {
      Task task;
      std::string error;
      const Mode mode = problem.index_format == PEAKPOOL_INDEX_NONE ? Mode::kForward : Mode::kForwardIndices;
      if (!task.Prepare(problem, mode, 1, &error)) {
        state.SkipWithError(error.c_str());
        return;
      }
      std::vector<Side> sides = {task.Ours()};
      RunRounds(&sides, settings.rounds);
      for (auto _ : state) state.SetIterationTime(sides[0].Minimum());
      state.counters["bytes"] = static_cast<double>(task.Bytes());
      state.SetLabel(task.ForwardAlgorithm());
    };
    benchmark::RegisterBenchmark((std::string("cliff/") + description).c_str(), run)
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
  }
}

constexpr Mode kModes[] = {Mode::kForward, Mode::kForwardIndices, Mode::kBackward};
constexpr int32_t kLayouts[] = {PEAKPOOL_CHANNELS_FIRST, PEAKPOOL_CHANNELS_LAST};

void AddRows(const std::vector<Workload>& workloads) {
  // Two-thread rows come last, so that no waiting worker disturbs the others.
  for (int threads : {1, 2}) {
    for (Mode mode : kModes) {
      for (int32_t layout : kLayouts) {
        for (Workload workload : workloads) {
          workload.problem.layout = layout;
          AddRow("", workload.name, workload.problem, mode, threads);
        }
      }
    }
    static const char* const kTyped[] = {"vgg16_pool1",     "vgg16_pool5",         "resnet50_pool1",
                                         "googlenet_pool2", "googlenet_inception", "yolov3_spp5",
                                         "dilated_context", "global_7x7",          "c3d_pool2"};
    for (int32_t type : {PEAKPOOL_U8, PEAKPOOL_I8, PEAKPOOL_F16, PEAKPOOL_BF16, PEAKPOOL_F64}) {
      for (Mode mode : kModes) {
        if (mode == Mode::kBackward && type > PEAKPOOL_BF16) continue;
        for (int32_t layout : kLayouts) {
          for (Workload workload : workloads) {
            bool typed = false;
            for (const char* name : kTyped) typed = typed || workload.name == name;
            if (!typed) continue;
            workload.problem.type = type;
            workload.problem.layout = layout;
            AddRow("", workload.name, workload.problem, mode, threads);
          }
        }
      }
    }
  }
  // PyTorch's index format, where compact ones are the default of the rows above.
  for (Mode mode : {Mode::kForwardIndices, Mode::kBackward}) {
    for (int32_t layout : kLayouts) {
      for (Workload workload : workloads) {
        if (workload.name != "vgg16_pool5" && workload.name != "resnet50_pool1" && workload.name != "yolov3_spp5") {
          continue;
        }
        workload.problem.layout = layout;
        workload.problem.index_format = PEAKPOOL_INDEX_PLANE_I64;
        AddRow("plane_i64", workload.name, workload.problem, mode, 1);
      }
    }
  }
  for (Workload& workload : std::vector<Workload>(workloads)) {
    if (workload.name == "resnet50_pool1" || workload.name == "c3d_pool2") {
      AddPlanCreation(workload.name, workload.problem, Mode::kForward);
      AddPlanCreation(workload.name, workload.problem, Mode::kBackward);
    }
  }
  for (Mode mode : {Mode::kForward, Mode::kForwardIndices}) {
    for (int32_t layout : kLayouts) {
      for (int k : {2, 3, 4, 5, 7, 9, 13, 17, 23, 31, 47, 63}) {
        peakpool_problem p = Square(PEAKPOOL_F32, layout, 16, 256, 256, k, 1, 0, 1);
        for (int axis = 0; axis < 2; ++axis) p.padding[axis] = {(k - 1) / 2, k / 2};
        char name[8];
        std::snprintf(name, sizeof(name), "k%02d", k);
        AddRow("kernel_size", name, p, mode, 1);
      }
      for (int32_t type : {PEAKPOOL_F32, PEAKPOOL_U8, PEAKPOOL_F16, PEAKPOOL_F64}) {
        const Variant dilated = {Square(type, layout, 64, 56, 56, 3, 1, 2, 2), 1};
        const Variant dense = {Square(type, layout, 64, 56, 56, 3, 1, 1, 1), 1};
        AddPair("dilation_2_over_1", "64x56x56_k3s1", dilated, dense, mode);
      }
    }
  }
  for (Mode mode : kModes) {
    for (int32_t layout : kLayouts) {
      for (int kernel : {2, 3}) {
        const int64_t channels = layout == PEAKPOOL_CHANNELS_LAST ? 16 : 1;
        const peakpool_problem p =
            Square(PEAKPOOL_F32, layout, channels, 512, 1024 / channels, kernel, 2, kernel / 3, 1);
        AddPair("threads_2_over_1", "one_plane_2MB_k" + std::to_string(kernel) + "s2", {p, 2}, {p, 1}, mode);
      }
    }
  }
}

void LoadPeers(const std::string& folder) {
  if (!settings.target.empty()) {  // limits the peers to what a machine of that target has
    if (settings.target == "AVX2") {
      setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1);
      setenv("DNNL_MAX_CPU_ISA", "AVX2", 1);
      setenv("ATEN_CPU_CAPABILITY", "avx2", 1);
      setenv("OPENCV_CPU_DISABLE", "AVX512-SKX", 1);
    }
  }
  // OpenMP workers spin for milliseconds after their last task by default, which would disturb the side that runs next.
  setenv("GOMP_SPINCOUNT", "20000", 0);
  for (const char* name : {"onednn", "xnnpack", "torch", "opencv"}) {
    if (("," + settings.peers + ",").find(std::string(",") + name + ",") == std::string::npos) continue;
    const std::string path = folder + "/peer_" + name + ".so";
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    void* symbol = library == nullptr ? nullptr : dlsym(library, "PeakpoolBenchPeer");
    if (symbol == nullptr) {
      benchmark::AddCustomContext(name, "not available");
      std::fprintf(stderr, "peer %s: %s\n", name, dlerror());
      continue;
    }
    const Peer* peer = reinterpret_cast<const Peer* (*)()>(symbol)();
    benchmark::AddCustomContext(name, peer->version());
    peers.push_back(peer);
  }
}

bool Option(const char* argument, const char* name, std::string* value) {
  const size_t length = std::strlen(name);
  if (std::strncmp(argument, name, length) != 0 || argument[length] != '=') return false;
  *value = argument + length + 1;
  return true;
}

int Main(int argc, char** argv) {
  // A row runs once: it does its own repetitions.
  static char min_time[] = "--benchmark_min_time=0.000000001";
  std::vector<char*> arguments(argv, argv + argc);
  arguments.insert(arguments.begin() + 1, min_time);
  argc = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  benchmark::Initialize(&argc, arguments.data());
  for (int i = 1; i < argc; ++i) {
    std::string number;
    if (std::strcmp(arguments[i], "--cold") == 0) {
      settings.rounds.evict = Evict;
    } else if (Option(arguments[i], "--rounds", &number)) {
      settings.rounds.rounds = std::max(1, std::atoi(number.c_str()));
    } else if (Option(arguments[i], "--calls", &number)) {
      settings.calls = std::max(1, std::atoi(number.c_str()));
    } else if (!Option(arguments[i], "--target", &settings.target) &&
               !Option(arguments[i], "--peers", &settings.peers) &&
               !Option(arguments[i], "--workloads", &settings.workloads)) {
      std::fprintf(stderr, "unknown argument %s\n", arguments[i]);
      return 2;
    }
  }
  std::string error;
  const std::vector<Workload> workloads = ReadWorkloads(settings.workloads, &error);
  if (workloads.empty()) {
    std::fprintf(stderr, "%s\n", error.c_str());
    return 2;
  }
  if (StreamLoops(settings.target.empty() ? nullptr : settings.target.c_str()).empty()) {
    std::fprintf(stderr, "--target=%s: not compiled, or not runnable on this machine\n", settings.target.c_str());
    return 2;
  }
  const std::string program = argv[0];
  LoadPeers(program.find('/') == std::string::npos ? "." : program.substr(0, program.rfind('/')));
#if PEAKPOOL_HAVE_TBB
  const oneapi::tbb::global_control two_threads(oneapi::tbb::global_control::max_allowed_parallelism, 2);
#endif
  benchmark::AddCustomContext("peakpool", peakpool_version());
  benchmark::AddCustomContext("target", settings.target.empty() ? peakpool_target_name(0) : settings.target);
  benchmark::AddCustomContext("cache_state", settings.rounds.evict == nullptr ? "warm" : "cold");
  AddRows(workloads);
  AddCliffs();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  if (differences != 0) std::fprintf(stderr, "%d results differ from a peer's\n", differences);
  return differences != 0;
}

}  // namespace
}  // namespace peakpool_bench

int main(int argc, char** argv) { return peakpool_bench::Main(argc, argv); }
