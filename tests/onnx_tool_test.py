#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/onnx_use_peakpool: what it rewrites, what it leaves, and what it refuses: onnx_tool_test.py TOOL"""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import onnx
from onnx import TensorProto, helper

TOOL = sys.argv.pop(1)


def run(*arguments):
    done = subprocess.run([sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def value(name, shape=(1, 1, 4, 4), element=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, element, shape)


def max_pool(x, *outputs, **attributes):
    return helper.make_node("MaxPool", [x], list(outputs), kernel_shape=[2, 2], **attributes)


def model_of(nodes, initializers=(), functions=(), opsets=()):
    graph = helper.make_graph(nodes, "test", [value("x")], [value("y", None)], list(initializers))
    return helper.make_model(graph, functions=list(functions),
                             opset_imports=[helper.make_opsetid("", 15), *opsets])


class OnnxUsePeakpool(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.source, self.target = self.folder / "in.onnx", self.folder / "out.onnx"

    def rewritten(self, model, count):
        onnx.save(model, str(self.source))
        code, out, err = run(self.source, self.target)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(out, f"{self.target}: {count} MaxPool node{'' if count == 1 else 's'} rewritten\n")
        return onnx.load(str(self.target))

    def refused(self, message, *arguments):
        before = {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        code, out, err = run(*arguments)
        self.assertEqual((code, out), (1, ""))
        self.assertTrue(err.startswith("onnx_use_peakpool: ") and err.count("\n") == 1, err)
        self.assertIn(message, err)
        after = {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        self.assertEqual(before, after)

    def test_only_max_pool_is_rewritten(self):
        model = model_of([
            max_pool("x", "a", "indices", strides=[1, 1], name="first", storage_order=1),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("MaxPool", ["b"], ["c"], domain="elsewhere"),
            max_pool("c", "d"),
            helper.make_node("GlobalMaxPool", ["d"], ["y"]),
        ], opsets=[helper.make_opsetid("elsewhere", 3)])
        result = self.rewritten(model, 2)
        for i in (0, 3):
            model.graph.node[i].domain = "peakpool"
        model.opset_import.append(helper.make_opsetid("peakpool", 1))
        # Nobody knows what elsewhere.MaxPool hands on.
        model.graph.value_info.extend([value("a", (1, 1, 3, 3)), value("indices", (1, 1, 3, 3), TensorProto.INT64)])
        self.assertEqual(result, model)

    def test_known_shapes_are_not_noted_twice(self):
        model = model_of([max_pool("x", "a"), helper.make_node("Relu", ["a"], ["y"])])
        model.graph.value_info.append(value("a", (1, 1, 3, 3)))
        self.assertEqual([known.name for known in self.rewritten(model, 1).graph.value_info], ["a"])

    def test_shapes_that_contradict_each_other_are_left_alone(self):
        model = model_of([max_pool("x", "a"), max_pool("a", "y")])
        model.graph.value_info.append(value("a", (1, 1, 7, 7)))
        self.assertEqual(list(self.rewritten(model, 2).graph.value_info), list(model.graph.value_info))

    def test_graphs_inside_nodes_and_functions(self):
        def branch(name):
            return helper.make_graph([max_pool("x", name)], name, [], [value(name, None)])

        inner = helper.make_node("If", ["condition"], ["a"], then_branch=branch("t"), else_branch=branch("e"))
        outer_branch = helper.make_graph([inner], "outer", [], [value("a", None)])
        function = helper.make_function("own", "Pool", ["u"], ["v"], [max_pool("u", "v")],
                                        [helper.make_opsetid("", 15)])
        model = model_of([
            helper.make_node("If", ["condition"], ["b"], then_branch=outer_branch, else_branch=branch("f")),
            helper.make_node("Pool", ["b"], ["y"], domain="own"),
        ], [helper.make_tensor("condition", TensorProto.BOOL, [], [True])], [function], [helper.make_opsetid("own", 1)])
        result = self.rewritten(model, 4)
        self.assertEqual(result.SerializeToString().count(b":\x08peakpool"), 4)  # the domain fields of nodes
        self.assertIn(helper.make_opsetid("peakpool", 1), list(result.functions[0].opset_import))

    def test_an_import_is_not_added_twice(self):
        result = self.rewritten(model_of([max_pool("x", "y")], opsets=[helper.make_opsetid("peakpool", 1)]), 1)
        self.assertEqual([opset.domain for opset in result.opset_import].count("peakpool"), 1)

    def test_weights_in_other_files_stay_there(self):
        weight = helper.make_tensor("w", TensorProto.FLOAT, [4], bytes(16), raw=True)
        model = model_of([max_pool("x", "a"), helper.make_node("Add", ["a", "w"], ["y"])], [weight])
        onnx.save(model, str(self.source), save_as_external_data=True, location="weights", size_threshold=0)
        weights = (self.folder / "weights").read_bytes()
        self.assertEqual(run(self.source, self.target)[0], 0)
        self.assertEqual((self.folder / "weights").read_bytes(), weights)
        onnx.load(str(self.target))  # with its weights
        (self.folder / "sub").mkdir()
        self.refused("must be in the same folder", self.source, self.folder / "sub" / "out.onnx")

    def test_nothing_is_overwritten_unasked(self):
        onnx.save(model_of([max_pool("x", "y")]), str(self.source))
        self.target.write_bytes(b"precious")
        self.refused("out.onnx: exists (--force overwrites it)", self.source, self.target)
        self.refused("in.onnx: exists (--force overwrites it)", self.source, self.source)
        self.assertEqual(run(self.source, self.source, "--force")[0], 0)
        self.assertEqual(onnx.load(str(self.source)).graph.node[0].domain, "peakpool")
        self.refused("has no MaxPool node; nothing was written", self.source, self.folder / "again.onnx")

    def test_bad_input(self):
        self.refused("in.onnx: No such file or directory", self.source, self.target)
        self.source.write_bytes(b"this is not a model")
        self.refused("in.onnx: is not an ONNX model", self.source, self.target)
        self.source.write_bytes(b"")
        self.refused("in.onnx: is not an ONNX model: it has no graph", self.source, self.target)
        onnx.save(model_of([max_pool("x", "y")], opsets=[helper.make_opsetid("peakpool", 2)]), str(self.source))
        self.refused("imports version 2 of the domain peakpool: must be 1", self.source, self.target)
        onnx.save(model_of([max_pool("x", "y")]), str(self.source))
        self.refused("nowhere: there is no such folder", self.source, self.folder / "nowhere" / "out.onnx")

    def test_the_result_has_ordinary_permissions(self):
        onnx.save(model_of([max_pool("x", "y")]), str(self.source))
        self.assertEqual(run(self.source, self.target)[0], 0)
        self.assertEqual(self.target.stat().st_mode, self.source.stat().st_mode)
        self.assertEqual(sorted(os.listdir(self.folder)), ["in.onnx", "out.onnx"])

    def test_usage(self):
        self.assertIn("peakpool.MaxPool", run("--help")[1])
        self.assertEqual(run()[0], 2)


unittest.main()
