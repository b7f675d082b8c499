"""Chinese words for MMBench-CN: questions by the drawn world's kinds, and colours."""
# ruff: noqa: RUF001

from __future__ import annotations

HINT = "请看图。"
QUESTIONS = {
    "background": "图中的背景是什么颜色？",
    "count": "图中一共有几个图形？",
    "word": "图中写的是哪个单词？",
    "number": "图中的数字是多少？",
    "stamp": "印章是什么颜色？",
    "count bars": "图中有几根柱子？",
    "title": "这一页的标题是什么？",
}
COLOURS = {
    "red": "红色",
    "green": "绿色",
    "blue": "蓝色",
    "yellow": "黄色",
    "orange": "橙色",
    "purple": "紫色",
    "pink": "粉色",
    "cyan": "青色",
    "black": "黑色",
    "white": "白色",
}
