#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the one code block of a Markdown file that contains a text: readme_block.py FILE TEXT"""
import pathlib
import re
import sys

path, text = sys.argv[1:]
blocks = re.findall(r"^```\w+\n(.*?)^```$", pathlib.Path(path).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
found = [block for block in blocks if text in block]
if len(found) != 1:
    sys.exit(f"{path}: {len(found)} code blocks contain {text}")
print(found[0], end="")
