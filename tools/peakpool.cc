// SPDX-License-Identifier: Apache-2.0
// The command line: reads the arguments, calls one subcommand, turns errors into one line and exit code 2.
#include "peakpool/peakpool.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <new>
#include <string>
#include <vector>

#include "tools/commands.h"
#include "tools/executor.h"

namespace peakpool::tools {

Error ExplainText(const std::string& text) {
  const Plan plan(text.c_str());
  if (!plan) return std::string(plan.error());
  std::string explained = Explain(plan.get());
  while (!explained.empty() && explained.back() == '\n') explained.pop_back();
  std::puts(explained.c_str());
  return {};
}

void Info() {
  std::printf("peakpool %s (ABI %d)\ntargets:", peakpool_version(), peakpool_abi_version());
  for (int i = 0; const char* name = peakpool_target_name(i); ++i)
    std::printf(" %s%s", name, i == 0 ? " (default)" : "");
  std::printf("\nthreads: %d\n", DefaultThreads());
}

namespace {

constexpr int kExitMismatch = 1;
constexpr int kExitError = 2;

int Report(const std::string& command, std::string message) {
  // One line, whatever a library's message holds.
  std::replace(message.begin(), message.end(), '\n', ' ');
  std::fprintf(stderr, "%s: %s\n", command.c_str(), message.c_str());
  return kExitError;
}

int Run(int argc, char** argv) {
  CLI::App app("Max pooling of arrays and pictures on the CPU.", "peakpool");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("peakpool ") + peakpool_version());
  app.get_formatter()->column_width(36);
  app.footer(
      "Exit codes: 0 done; 1 `verify` found a mismatch; 2 a bad argument or file, named on stderr.\n"
      "`peakpool COMMAND --help` lists a command's options.");

  PoolArguments pool;
  auto* pool_command = app.add_subcommand("pool", "Pool a .npy array");
  pool_command->add_option("IN", pool.input, "The array, .npy")->required();
  pool_command->add_option("OUT", pool.output, "The pooled array, .npy, of the same type")->required();
  auto* indices =
      pool_command
          ->add_option("--indices", pool.indices, "Also write where each maximum was found (see --index-format)")
          ->group("Arrays")
          ->option_text("IDX.npy");
  AddArrayFlags(pool_command, &pool.flags);
  AddIndexFormatFlag(pool_command, &pool.flags)->needs(indices);
  AddGeometryFlags(pool_command, &pool.flags);
  pool_command->footer(
      "Prints the problem, the algorithm, the target and the time of the one execution.\n"
      "Example: peakpool pool in.npy out.npy --kernel 3 --stride 2 --pad 1 --indices idx.npy");

  BackwardArguments backward;
  auto* backward_command = app.add_subcommand("backward", "Send gradients back to where the maxima were found");
  backward_command->add_option("DY", backward.dy, "The gradients of the pooled array, .npy, floating point")
      ->required();
  backward_command->add_option("IDX", backward.indices, "The indices that `peakpool pool --indices` wrote")->required();
  backward_command->add_option("DX", backward.dx, "The gradients of the input, .npy, of DY's type")->required();
  backward_command
      ->add_option("--input-shape", backward.input_shape,
                   "Shape of DX as an array, in the axis order of --layout: N,C,H,W or N,H,W,C for a 2-D problem")
      ->required()
      ->group("Arrays")
      ->option_text("N,C,H,W");
  AddArrayFlags(backward_command, &backward.flags);
  AddIndexFormatFlag(backward_command, &backward.flags);
  AddGeometryFlags(backward_command, &backward.flags);
  backward_command->footer(
      "Give the geometry of the pooling.\n"
      "Example: peakpool backward dy.npy idx.npy dx.npy --input-shape 1,64,112,112 --kernel 3 --stride 2 --pad 1");

  PictureArguments picture;
  auto* picture_command = app.add_subcommand("picture", "Pool a picture and show what happened");
  picture_command->add_option("IN", picture.input, "The picture, PNG or JPEG")->required();
  picture_command->add_option("OUT", picture.output, "The sheet to write, PNG")->required();
  AddGeometryFlags(picture_command, &picture.flags);
  picture_command->footer(
      "The sheet shows the input, the pooled result with each pixel drawn over the input pixels nearest to it, and "
      "the\n"
      "input with the selected pixels bright, whole and in detail.\n"
      "Example: peakpool picture photo.jpg pooled.png --kernel 4");

  VerifyArguments verify;
  auto* verify_command = app.add_subcommand("verify", "Compare random problems with the plain reference, bit for bit");
  verify_command->add_option("--cases", verify.cases, "How many problems [2000]")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->option_text("N");
  verify_command->add_option("--seed", verify.seed, "Where the random numbers start [1]")->option_text("S");
  verify_command->add_option("--target", verify.target, "all, or one of those that `peakpool info` lists [all]")
      ->option_text("NAME|all");
  verify_command
      ->add_option("--problem", verify.problem, "Only this problem, its data drawn from --seed: reproduces a mismatch")
      ->option_text("TEXT");

  std::vector<std::string> explained;
  auto* explain_command = app.add_subcommand("explain", "Say how a problem would be run, and why");
  explain_command->add_option("PROBLEM", explained, "For example \"f32 nchw 1x64x112x112 k3 s2 p1 window-u8\"")
      ->required();
  explain_command->footer(
      "The grammar: TYPE LAYOUT NxCxSPATIAL kK [sS] [pP] [dD] [floor|ceil|exact|oO] [INDEX-FORMAT] [allow-empty]\n"
      "[accumulate] [im2col] [xs=STRIDES] [ys=STRIDES]. Sizes are in the order N, C, spatial. One value means every\n"
      "axis; several are joined by x, leading and trailing padding by a colon (p0:1x2:3).");

  auto* info_command = app.add_subcommand("info", "Version, instruction sets and threads");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    // The command that was given, if any: its own help says more, and without one CLI11 only says that one is missing.
    const auto given = [&](const CLI::App* command) { return argc > 1 && command->get_name() == argv[1]; };
    const auto commands = app.get_subcommands(given);
    const CLI::App* const command = commands.empty() ? nullptr : commands[0];
    const std::string name = command ? "peakpool " + command->get_name() : "peakpool";
    if (!command && argc > 1 && argv[1][0] != '-') return Report(name, std::string(argv[1]) + ": no such command");
    return Report(name, std::string(error.what()) + " (see " + name + " --help)");
  }

  Error error;
  bool mismatch = false;
  if (*pool_command) error = Pool(pool);
  if (*backward_command) error = Backward(backward);
  if (*picture_command) error = Picture(picture);
  if (*verify_command) error = Verify(verify, &mismatch);
  if (*info_command) Info();
  if (*explain_command) {
    std::string text;
    for (const std::string& word : explained) text += (text.empty() ? "" : " ") + word;
    error = ExplainText(text);
  }
  if (error) return Report("peakpool " + app.get_subcommands()[0]->get_name(), error.message);
  if (std::fflush(stdout) != 0) return Report("peakpool", "cannot write to stdout");
  return mismatch ? kExitMismatch : 0;
}

}  // namespace
}  // namespace peakpool::tools

int main(int argc, char** argv) {
  try {
    return peakpool::tools::Run(argc, argv);
  } catch (const std::bad_alloc&) {
    return peakpool::tools::Report("peakpool", "out of memory");
  }
}
