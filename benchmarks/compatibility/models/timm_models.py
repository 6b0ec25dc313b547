"""Vision models of timm, small: few classes, small images, shallow where they can be."""

from __future__ import annotations

from typing import Any

from ..catalogue import Case, entry, normal

# name -> kind, image size, further arguments of timm.create_model
MODELS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "resnet18": ("convolutional classifier", 64, {}),
    "resnet26d": ("convolutional classifier", 64, {}),
    "seresnext26d_32x4d": ("convolutional classifier", 64, {}),
    "mobilenetv3_small_050": ("convolutional classifier", 64, {}),
    "mobilenetv2_035": ("convolutional classifier", 64, {}),
    "efficientnet_b0": ("convolutional classifier", 64, {}),
    "densenet121": ("convolutional classifier", 64, {"growth_rate": 8, "block_config": (2, 2, 2)}),
    "regnetx_002": ("convolutional classifier", 64, {}),
    "convnext_atto": ("convolutional classifier", 64, {}),
    "convnextv2_atto": ("convolutional classifier", 64, {}),
    "repvgg_a0": ("convolutional classifier", 64, {}),
    "ghostnet_050": ("convolutional classifier", 64, {}),
    "mixnet_s": ("convolutional classifier", 64, {}),
    "hrnet_w18_small": ("convolutional classifier", 64, {}),
    "dla34": ("convolutional classifier", 64, {}),
    "cspresnet50": ("convolutional classifier", 64, {}),
    "vovnet39a": ("convolutional classifier", 64, {}),
    "inception_v3": ("convolutional classifier", 96, {}),
    "fastvit_t8": ("convolutional classifier", 64, {}),
    "vit_tiny_patch16_224": ("vision transformer", 64, {"depth": 3, "img_size": 64}),
    "deit_tiny_distilled_patch16_224": ("vision transformer", 64, {"depth": 3, "img_size": 64}),
    "swin_tiny_patch4_window7_224": (
        "vision transformer", 56, {"depths": (1, 1), "num_heads": (2, 4), "embed_dim": 32,
                                   "img_size": 56},
    ),
    "beit_base_patch16_224": (
        "vision transformer", 64, {"depth": 2, "embed_dim": 64, "num_heads": 2, "img_size": 64},
    ),
    "cait_xxs24_224": ("vision transformer", 64, {"depth": 2, "img_size": 64}),
    "levit_128s": ("vision transformer", 128, {"img_size": 128}),
    "pvt_v2_b0": ("vision transformer", 64, {}),
    "mixer_s32_224": (
        "vision MLP", 64, {"img_size": 64},
    ),
    "gmlp_ti16_224": ("vision MLP", 64, {"img_size": 64}),
    "poolformer_s12": ("vision transformer", 64, {}),
    "coatnet_nano_rw_224": ("vision transformer", 64, {"img_size": 64}),
    "maxvit_pico_rw_256": ("vision transformer", 64, {"img_size": 64}),
    "eva02_tiny_patch14_224": (
        "vision transformer", 56, {"depth": 2, "img_size": 56},
    ),
    "edgenext_xx_small": ("vision transformer", 64, {}),
    "mobilevit_xxs": ("vision transformer", 64, {}),
    "xcit_nano_12_p16_224": ("vision transformer", 64, {"depth": 2, "img_size": 64}),
    "efficientformer_l1": ("vision transformer", 224, {}),
    "crossvit_9_240": ("vision transformer", 240, {"depth": ((1, 1, 0), (1, 1, 0), (1, 1, 0))}),
}  # fmt: skip


def _register(name: str, kind: str, size: int, options: dict[str, Any]) -> None:
    @entry(f"timm/{name}", kind, "timm")
    def build() -> Case:
        import timm

        model = timm.create_model(name, pretrained=False, num_classes=7, **options)
        return Case(model, (normal(2, 3, size, size),))


for _name, (_kind, _size, _options) in MODELS.items():
    _register(_name, _kind, _size, _options)


@entry("timm/resnet18 features", "detection backbone", "timm")
def features() -> Case:
    """The feature pyramid that detectors build on."""
    import timm

    model = timm.create_model("resnet18", features_only=True, out_indices=(1, 2, 3))
    return Case(model, (normal(1, 3, 64, 64),))
