"""Create tests/node/data/head_*.npz: raw outputs of models, decoded by their own libraries.

Usage: python tests/node/make_head_fixtures.py FAMILY…        (all FAMILIES by default)

YOLO families: their library builds the network with random weights, exports or runs it on a picture
of noise, and decodes the outputs. DETR families and YuNet: their library decodes random outputs.
Nothing of a library is copied: fixtures only contain numbers. Versions used for the committed
files, under Python 3.11 with torch 2.13: ultralytics 8.4.190, yolov5 7.0.14, transformers 5.23.0,
rfdetr 1.11.2, super-gradients 3.7.1, opencv-python 5.0.0; segformer under Python 3.14 with torch
2.15 and transformers 5.24.0. None of them is needed to run the tests. Several are licensed under
the AGPL or GPL; they are only used as tools.

The committed files were created without the compiled operators of torchvision, which did not load:
a greedy `torchvision::nms` in Python replaced them. The YOLO fixtures therefore test the decoding
and thresholds of the libraries; suppression itself is tested in test_ssd.py.

A fixture contains the outputs as `output0`, `output1`, …; `head` (JSON of the head in the manifest)
and `size`; `min_score`; and the result of the library: `boxes` as normalized corners, `scores`,
`class_ids`, and `keypoints` if there are any, best first.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"
SIDE = 128
CLASSES = 5
IOU = 0.45


def save(
    name: str,
    head: dict[str, Any],
    outputs: list[Any],
    min_score: float,
    found: dict[str, Any],
    size: tuple[int, int] = (SIDE, SIDE),
) -> None:
    """Write a fixture."""
    order = np.argsort(-np.asarray(found["scores"]), kind="stable")
    arrays = {key: np.asarray(value, np.float32)[order] for key, value in found.items()}
    arrays |= {f"output{i}": np.asarray(output) for i, output in enumerate(outputs)}
    path = DATA / f"head_{name}.npz"
    np.savez_compressed(
        path, head=json.dumps(head), size=np.array(size), min_score=min_score, **arrays
    )
    print(f"{path.name}: {path.stat().st_size} bytes, {len(order)} found")
    assert 0 < len(order) <= 100
    assert path.stat().st_size < 200_000


def noise(seed: int) -> Any:
    """A picture of blotches, uint8 [SIDE, SIDE, 3]."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
    fine = random.integers(0, 40, (SIDE, SIDE, 3), dtype=np.uint8)
    return np.clip(coarse.repeat(8, 0).repeat(8, 1) // 1 + fine.astype(int), 0, 255).astype("u1")


# --- Ultralytics ----------------------------------------------------------------------------------


def _ultralytics(
    name: str, config: str, min_score: float, *, pose: bool = False, **export: Any
) -> None:
    import torch
    from ultralytics import YOLO
    from ultralytics.nn.tasks import DetectionModel, PoseModel

    torch.manual_seed(7)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        model = YOLO(config)
        small = (
            PoseModel(config, nc=1, data_kpt_shape=(17, 3), verbose=False)
            if pose
            else DetectionModel(config, nc=CLASSES, verbose=False)
        )
        small.args, small.task = model.model.args, model.task
        model.model = small
        model.model.names = {i: str(i) for i in range(1 if pose else CLASSES)}
        _calibrate(small)
        _excite(small.model[-1])
        path = model.export(format="onnx", imgsz=SIDE, simplify=False, **export)
        picture = noise(3)
        result = YOLO(path, task="pose" if pose else "detect").predict(
            picture, imgsz=SIDE, conf=min_score, iou=IOU, max_det=100, verbose=False
        )[0]
        outputs = _run_onnx(path, picture[..., ::-1].transpose(2, 0, 1)[None] / 255)
    finished = outputs[0].shape[-1] in (6, 6 + 51)
    head: dict[str, Any] = {"type": "end_to_end" if finished else "yolov8"}
    head["classes"] = 1 if pose else CLASSES
    found = {
        "boxes": result.boxes.xyxyn,
        "scores": result.boxes.conf,
        "class_ids": result.boxes.cls,
    }
    if pose:
        head["keypoints"] = 17
        found["keypoints"] = result.keypoints.data / torch.tensor([SIDE, SIDE, 1])
    save(name, head, outputs, min_score, found)


def _calibrate(model: Any) -> None:
    """Let the normalization layers measure the random network, so that signals pass through it."""
    import torch

    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    model.train()
    with torch.no_grad():
        for seed in range(4):
            tensor = np.stack([noise(10 * seed + i).transpose(2, 0, 1) for i in range(4)])
            model(torch.from_numpy(tensor / np.float32(255)))
    model.eval()


def _excite(head: Any) -> None:
    """Make random outputs as diverse as those of a trained model."""
    import torch

    branches = [head.cv2, head.cv3] + ([head.cv4] if hasattr(head, "cv4") else [])
    end_to_end = (getattr(head, name, None) for name in ("one2one_cv2", "one2one_cv3"))
    branches += [branch for branch in end_to_end if branch is not None]
    for branch in branches:
        for layer in branch:
            last = layer[-1]
            torch.nn.init.normal_(last.weight, 0, 3 / last.weight[0].numel() ** 0.5)
            torch.nn.init.normal_(last.bias, -2.0, 0.5)


def _run_onnx(path: str, tensor: Any) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: tensor.astype(np.float32)}))


def yolov8() -> None:
    """Anchor-free boxes with classes."""
    _ultralytics("yolov8", "yolov8n.yaml", 0.5)


def yolov9() -> None:
    """The same outputs from YOLOv9."""
    _ultralytics("yolov9", "yolov9t.yaml", 0.5)


def yolo11() -> None:
    """The same outputs from YOLO11."""
    _ultralytics("yolo11", "yolo11n.yaml", 0.5)


def yolov8_nms() -> None:
    """With suppression in the graph."""
    _ultralytics("yolov8_nms", "yolov8n.yaml", 0.5, nms=True, conf=0.3, iou=IOU, max_det=60)


def yolov10() -> None:
    """End to end by training."""
    _ultralytics("yolov10", "yolov10n.yaml", 0.95, end2end=True)


def yolo_pose() -> None:
    """Boxes with 17 keypoints."""
    _ultralytics("yolo_pose", "yolov8n-pose.yaml", 0.5, pose=True)


def yolov5() -> None:
    """YOLOv5 with anchors and objectness."""
    import torch
    import yolov5 as package
    from yolov5.models.yolo import Model
    from yolov5.utils.general import non_max_suppression

    torch.manual_seed(7)
    config = Path(package.__file__).parent / "models" / "yolov5n.yaml"
    model = Model(str(config), nc=CLASSES)
    _calibrate(model)
    for layer in model.model[-1].m:
        torch.nn.init.normal_(layer.weight, 0, 3 / layer.weight[0].numel() ** 0.5)
        torch.nn.init.normal_(layer.bias, 0, 0.5)
    tensor = torch.from_numpy(noise(3).transpose(2, 0, 1)[None] / np.float32(255))
    with torch.no_grad():
        output = model(tensor)[0]
    (rows,) = non_max_suppression(output.clone(), 0.85, IOU, max_det=100)
    boxes = (rows[:, :4] / SIDE).clamp(0, 1)
    found = {"boxes": boxes, "scores": rows[:, 4], "class_ids": rows[:, 5]}
    save("yolov5", {"type": "yolov5", "classes": CLASSES}, [output], 0.85, found)


# --- SuperGradients -------------------------------------------------------------------------------


def yolo_nas() -> None:
    """YOLO-NAS, its own decoding and suppression."""
    import torch
    from super_gradients.training import models
    from super_gradients.training.models.detection_models.pp_yolo_e import (
        PPYoloEPostPredictionCallback,
    )

    torch.manual_seed(7)
    model = models.get("yolo_nas_s", num_classes=CLASSES)
    _calibrate(model)
    for head in (model.heads.head1, model.heads.head2, model.heads.head3):
        for layer in (head.cls_pred, head.reg_pred):
            torch.nn.init.normal_(layer.weight, 0, 2 / layer.weight[0].numel() ** 0.5)
            torch.nn.init.normal_(layer.bias, -1, 0.5)
    tensor = torch.from_numpy(noise(3).transpose(2, 0, 1)[None] / np.float32(255))
    with torch.no_grad():
        outputs = model(tensor)
    read = PPYoloEPostPredictionCallback(
        score_threshold=0.4,
        nms_threshold=IOU,
        nms_top_k=1000,
        max_predictions=100,
        multi_label_per_box=False,
    )
    (rows,) = read(outputs)
    boxes = (rows[:, :4] / SIDE).clip(0, 1)
    found = {"boxes": boxes, "scores": rows[:, 4], "class_ids": rows[:, 5]}
    head = {"type": "yolo_nas", "classes": CLASSES, "iou_threshold": IOU}
    save("yolo_nas", head, [output.numpy() for output in outputs[0][:2]], 0.4, found)


# --- Transformers ---------------------------------------------------------------------------------


def _transformers(name: str, processor: Any, classes: int, min_score: float, **head: Any) -> None:
    """Random logits and boxes, because those of a random network are all similar."""
    from types import SimpleNamespace

    import torch

    torch.manual_seed(7)
    logits = torch.randn(1, 60, classes) * 1.5 - 1
    boxes = torch.rand(1, 60, 4) * 0.6 + 0.2
    (result,) = processor.post_process_object_detection(
        SimpleNamespace(logits=logits, pred_boxes=boxes),
        threshold=min_score,
        target_sizes=[(SIDE, SIDE)],
    )
    found = {
        "boxes": (result["boxes"] / SIDE).clamp(0, 1),
        "scores": result["scores"],
        "class_ids": result["labels"],
    }
    spec = {"type": "detr", "classes": classes, **head}
    save(name, spec, [logits.numpy(), boxes.numpy()], min_score, found)


def rt_detr() -> None:
    """RT-DETR and D-FINE, which share their post-processing."""
    from transformers import RTDetrImageProcessor

    _transformers("rt_detr", RTDetrImageProcessor(), CLASSES, 0.7)


def detr() -> None:
    """The first DETR, with softmax and a class for "no object"."""
    from transformers import DetrImageProcessor

    _transformers("detr", DetrImageProcessor(), CLASSES + 1, 0.4, score="softmax")


def rf_detr() -> None:
    """The post-processing of RF-DETR with random outputs; its classes are COCO category IDs."""
    import torch
    from rfdetr.models.postprocess import PostProcess

    torch.manual_seed(7)
    logits = torch.randn(1, 60, 91) * 1.5 - 4
    boxes = torch.rand(1, 60, 4) * 0.6 + 0.2
    (result,) = PostProcess(num_select=100)(
        {"pred_logits": logits, "pred_boxes": boxes}, torch.tensor([[SIDE, SIDE]])
    )
    # Every third category has a label, in reverse order.
    class_ids = list(range(90, 0, -3))
    rows = [
        i
        for i, (label, score) in enumerate(zip(result["labels"], result["scores"], strict=True))
        if score >= 0.3 and int(label) in class_ids
    ]
    found = {
        "boxes": (result["boxes"][rows] / SIDE).clamp(0, 1),
        "scores": result["scores"][rows],
        "class_ids": [class_ids.index(int(result["labels"][row])) for row in rows],
    }
    head = {"type": "detr", "classes": 91, "class_ids": class_ids}
    save("rf_detr", head, [logits.numpy(), boxes.numpy()], 0.3, found)


# --- OpenCV ---------------------------------------------------------------------------------------


def yunet() -> None:
    """Twelve random outputs that OpenCV's FaceDetectorYN gets from a graph of constants."""
    import cv2
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(7)
    names, outputs, nodes, constants = [], [], [], []
    counts = [(SIDE // stride) ** 2 for stride in (8, 16, 32)]
    for part, values in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride, count in zip((8, 16, 32), counts, strict=True):
            if values == 1:
                array = random.uniform(0, 1, (1, count, 1)) ** 2
            else:
                array = random.normal(0.5, 0.5, (1, count, values))
            names.append(f"{part}_{stride}")
            outputs.append(array.astype(np.float32))
    # OpenCV requires outputs that depend on the input, so add zero times the input to each
    # constant.
    zero = numpy_helper.from_array(np.zeros((1, 1, 1, 1), np.float32), "zero")
    shape = numpy_helper.from_array(np.array([1, 1, 1]), "shape")
    nodes.append(helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=1))
    nodes.append(helper.make_node("Mul", ["mean", "zero"], ["none"]))
    nodes.append(helper.make_node("Reshape", ["none", "shape"], ["nothing"]))
    for name, array in zip(names, outputs, strict=True):
        constants.append(numpy_helper.from_array(array, f"{name}_value"))
        nodes.append(helper.make_node("Add", [f"{name}_value", "nothing"], [name]))
    graph = helper.make_graph(
        nodes,
        "yunet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, list(array.shape))
            for name, array in zip(names, outputs, strict=True)
        ],
        [zero, shape, *constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "yunet.onnx"
        onnx.save(model, path)
        # Its suppression uses boxes in whole pixels, so only the decoding is compared.
        detector = cv2.FaceDetectorYN.create(str(path), "", (SIDE, SIDE), 0.5, 1.0, 1000)
        _, rows = detector.detect(noise(3))
    corner = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
    points = np.concatenate(
        [rows[:, 4:14].reshape(-1, 5, 2) / SIDE, rows[:, 14:, None].repeat(5, 1)], axis=2
    )
    found = {
        "boxes": np.clip(corner / SIDE, 0, 1),
        "scores": rows[:, 14],
        "class_ids": np.zeros(len(rows)),
        "keypoints": points,
    }
    save("yunet", {"type": "yunet", "iou_threshold": 1.0}, outputs, 0.5, found)


# --- Segmentation ---------------------------------------------------------------------------------


def segformer() -> None:
    """SegFormer with random weights; transformers returns the class of every cell.

    `mask` is the result of torch for the first class alone: where its sigmoid is above 0.5.
    """
    import torch
    from transformers import (
        SegformerConfig,
        SegformerForSemanticSegmentation,
        SegformerImageProcessor,
    )

    torch.manual_seed(7)
    config = SegformerConfig(
        num_labels=CLASSES,
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        depths=[1, 1, 1, 1],
        decoder_hidden_size=16,
    )
    model = SegformerForSemanticSegmentation(config).eval()
    picture = torch.from_numpy(noise(5)).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        # Random weights give nearly the same result everywhere, so the differences are amplified.
        logits = model(picture).logits
        logits = (logits - logits.mean((2, 3), keepdim=True)) / logits.std((2, 3), keepdim=True)
    answer = type("Answer", (), {"logits": logits})()
    (classes,) = SegformerImageProcessor().post_process_semantic_segmentation(answer)
    path = DATA / "head_segformer.npz"
    np.savez_compressed(
        path,
        head=json.dumps({"type": "segmentation", "classes": CLASSES}),
        size=np.array([SIDE, SIDE]),
        output0=logits.numpy(),
        class_map=classes.numpy(),
        mask=(torch.sigmoid(logits[0, 0]) > 0.5).numpy(),
    )
    print(f"{path.name}: {path.stat().st_size} bytes, {classes.unique(return_counts=True)}")
    assert len(classes.unique()) == CLASSES


FAMILIES: dict[str, Callable[[], None]] = {
    make.__name__: make
    for make in (
        yolov5,
        yolov8,
        yolov9,
        yolo11,
        yolov8_nms,
        yolov10,
        yolo_pose,
        yolo_nas,
        rt_detr,
        rf_detr,
        detr,
        yunet,
        segformer,
    )
}


def wanted() -> Iterator[Callable[[], None]]:
    """Create the fixtures of the families on the command line."""
    for name in sys.argv[1:] or FAMILIES:
        yield FAMILIES[name]


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    for make in wanted():
        make()
