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

// What pool, adaptive and global share.
void AddPoolOptions(CLI::App* command, PoolArguments* arguments) {
  command->add_option("IN", arguments->input, "The array, .npy")->required();
  command->add_option("OUT", arguments->output, "The pooled array, .npy, of the same type")->required();
  auto* indices =
      command
          ->add_option("--indices", arguments->indices, "Also write where each maximum was found (see --index-format)")
          ->group("Arrays")
          ->option_text("IDX.npy");
  AddLayoutFlag(command, &arguments->flags);
  AddTypeFlag(command, &arguments->flags);
  AddIndexFormatFlag(command, "--index-format", "", &arguments->flags.index_format)->needs(indices);
  AddClampFlag(command, &arguments->flags);
  AddExecutionFlags(command, &arguments->flags);
}

void AddInputShapeOption(CLI::App* command, std::string* input_shape) {
  command
      ->add_option(
          "--input-shape", *input_shape,
          "Shape of the array that was pooled, in the axis order of --layout: N,C,H,W or N,H,W,C for a 2-D one")
      ->required()
      ->group("Arrays")
      ->option_text("N,C,H,W");
}

struct Positional {
  const char *name, *description;
};

// What backward and unpool share.
void AddInverseOptions(CLI::App* command, const Positional& values, const Positional& result,
                       InverseArguments* arguments) {
  command->add_option(values.name, arguments->values, values.description)->required();
  command->add_option("IDX", arguments->indices, "The indices that pooling with --indices wrote")->required();
  command->add_option(result.name, arguments->result, result.description)->required();
  AddInputShapeOption(command, &arguments->input_shape);
  AddLayoutFlag(command, &arguments->flags);
  AddTypeFlag(command, &arguments->flags);
  AddIndexFormatFlag(command, "--index-format", "", &arguments->flags.index_format);
  AddGeometryOrOutputSizeFlags(command, &arguments->flags);
}

int Run(int argc, char** argv) {
  CLI::App app("Max pooling of arrays and pictures on the CPU.", "peakpool");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("peakpool ") + peakpool_version());
  app.get_formatter()->column_width(36);
  app.footer(
      "Exit codes: 0 done; 1 `verify` found a mismatch; 2 a bad argument or file, named on stderr.\n"
      "`peakpool COMMAND --help` lists a command's options.");

  PoolArguments pool, adaptive, global;
  auto* pool_command = app.add_subcommand("pool", "Pool a .npy array");
  AddPoolOptions(pool_command, &pool);
  AddGeometryFlags(pool_command, &pool.flags);
  pool_command
      ->add_flag("--stream", pool.stream, "Row by row, as if the input arrived so; two spatial axes, same result")
      ->group("Execution");
  pool_command->footer(
      "Prints the problem, the algorithm, the target and the time of the one execution.\n"
      "Example: peakpool pool in.npy out.npy --kernel 3 --stride 2 --pad 1 --indices idx.npy");
  auto* adaptive_command = app.add_subcommand("adaptive", "Pool a .npy array to a given size");
  AddPoolOptions(adaptive_command, &adaptive);
  AddOutputSizeFlag(adaptive_command, &adaptive.flags)->required();
  adaptive_command->footer(
      "The windows are PyTorch's. Window indices count taps in a window of the largest size.\n"
      "Example: peakpool adaptive in.npy out.npy --output-size 7");
  auto* global_command = app.add_subcommand("global", "Pool a .npy array to one output per channel");
  AddPoolOptions(global_command, &global);
  global.flags.output_size = "1";
  global_command->footer(
      "The same as `peakpool adaptive --output-size 1`.\n"
      "Example: peakpool global in.npy out.npy --indices idx.npy --index-format plane");

  InverseArguments backward, unpool;
  auto* backward_command = app.add_subcommand("backward", "Send gradients back to where the maxima were found");
  AddInverseOptions(backward_command, {"DY", "The gradients of the pooled array, .npy, floating point"},
                    {"DX", "The gradients of the input, .npy, of DY's type"}, &backward);
  AddExecutionFlags(backward_command, &backward.flags);
  backward_command->footer(
      "Give the geometry of the pooling; for `peakpool adaptive` its --output-size, for `peakpool global` 1.\n"
      "Example: peakpool backward dy.npy idx.npy dx.npy --input-shape 1,64,112,112 --kernel 3 --stride 2 --pad 1");
  auto* unpool_command =
      app.add_subcommand("unpool", "Put pooled values back to where they were found, zeros elsewhere");
  AddInverseOptions(unpool_command, {"Y", "The pooled array, .npy"}, {"X", "The unpooled array, .npy, of Y's type"},
                    &unpool);
  AddThreadsFlag(unpool_command, &unpool.flags);
  unpool_command->footer(
      "Give the geometry of the pooling, as for `peakpool backward`. Where two values have one place, the last wins.\n"
      "Example: peakpool unpool y.npy idx.npy x.npy --input-shape 1,64,112,112 --kernel 2");

  ConvertArguments convert;
  auto* convert_command = app.add_subcommand("convert", "Rewrite indices in another format");
  convert_command->add_option("IDX_IN", convert.input, "The indices, .npy")->required();
  convert_command->add_option("IDX_OUT", convert.output, "The same in the other format, .npy")->required();
  AddIndexFormatFlag(convert_command, "--from", "The format of IDX_IN. ", &convert.from)->required();
  AddIndexFormatFlag(convert_command, "--to", "The format of IDX_OUT: as --from. ", &convert.to)->required();
  AddInputShapeOption(convert_command, &convert.input_shape);
  AddLayoutFlag(convert_command, &convert.flags);
  AddGeometryOrOutputSizeFlags(convert_command, &convert.flags);
  AddThreadsFlag(convert_command, &convert.flags);
  convert_command->footer(
      "Give the geometry of the pooling, as for `peakpool backward`.\n"
      "Example: peakpool convert idx.npy plane.npy --from window --to plane --input-shape 1,64,112,112 --kernel 2");

  PyramidArguments pyramid;
  auto* pyramid_command = app.add_subcommand("pyramid", "Pool a .npy array with several windows of stride 1");
  pyramid_command->add_option("IN", pyramid.input, "The array, .npy")->required();
  pyramid_command->add_option("OUT", pyramid.output, "All levels side by side: levels x C channels, .npy")->required();
  pyramid_command
      ->add_option("--kernels", pyramid.kernels,
                   "Odd, ascending window sizes, padded to keep the input's size; 1 copies the input. A cascade of one "
                   "window k is k,2k-1,3k-2")
      ->required()
      ->option_text("K[,K]...");
  AddLayoutFlag(pyramid_command, &pyramid.flags);
  AddTypeFlag(pyramid_command, &pyramid.flags);
  AddExecutionFlags(pyramid_command, &pyramid.flags);
  pyramid_command->footer(
      "Level i is channels i * C to (i + 1) * C - 1 of OUT.\n"
      "Example: peakpool pyramid in.npy out.npy --kernels 1,5,9,13");

  PictureArguments picture;
  auto* picture_command = app.add_subcommand("picture", "Pool a picture and show what happened");
  picture_command->add_option("IN", picture.input, "The picture, PNG or JPEG")->required();
  picture_command->add_option("OUT", picture.output, "The sheet to write, PNG")->required();
  AddGeometryFlags(picture_command, &picture.flags);
  AddExecutionFlags(picture_command, &picture.flags);
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

  verify_command->add_flag("--verbose", verify.verbose,
                           "Name each problem on stderr before it runs, where that is not a terminal");

  std::vector<std::string> explained;
  auto* explain_command = app.add_subcommand("explain", "Say how a problem would be run, and why");
  explain_command->add_option("PROBLEM", explained, "For example \"f32 nchw 1x64x112x112 k3 s2 p1 window-u8\"")
      ->required();
  explain_command->footer(
      "The grammar: TYPE LAYOUT NxCxSPATIAL kK [sS] [pP] [dD] [floor|ceil|exact|oO] [INDEX-FORMAT] [allow-empty]\n"
      "[accumulate] [im2col] [clamp=LOWER:UPPER] [xs=STRIDES] [ys=STRIDES], with aO in place of kK, sS, pP and dD for\n"
      "adaptive pooling. Sizes are in the order N, C, spatial. One value means every axis; several are joined by x,\n"
      "leading and trailing padding by a colon (p0:1x2:3).");

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
  if (*adaptive_command) error = Pool(adaptive);
  if (*global_command) error = Pool(global);
  if (*backward_command) error = Backward(backward);
  if (*unpool_command) error = Unpool(unpool);
  if (*convert_command) error = Convert(convert);
  if (*pyramid_command) error = Pyramid(pyramid);
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
