"""Models of further packages: torchvision, diffusers, segmentation_models_pytorch, lucidrains'."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ..catalogue import Case, entry, integers, normal, uniform

_CLASSIFIER = "convolutional classifier"


# ---- torchvision

TORCHVISION: dict[str, tuple[str, int, dict[str, Any]]] = {
    "resnet18": (_CLASSIFIER, 64, {}),
    "resnext50_32x4d": (_CLASSIFIER, 64, {}),
    "squeezenet1_1": (_CLASSIFIER, 64, {"dropout": 0.0}),
    "densenet121": (_CLASSIFIER, 64, {}),
    "googlenet": (_CLASSIFIER, 64, {"init_weights": True, "dropout": 0.0, "dropout_aux": 0.0}),
    "shufflenet_v2_x0_5": (_CLASSIFIER, 64, {}),
    "mobilenet_v2": (_CLASSIFIER, 64, {"dropout": 0.0}),
    "mobilenet_v3_small": (_CLASSIFIER, 64, {"dropout": 0.0}),
    "mnasnet0_5": (_CLASSIFIER, 64, {"dropout": 0.0}),
    "efficientnet_b0": (_CLASSIFIER, 64, {"dropout": 0.0, "stochastic_depth_prob": 0.0}),
    "regnet_y_400mf": (_CLASSIFIER, 64, {}),
    "convnext_tiny": (_CLASSIFIER, 64, {"stochastic_depth_prob": 0.0}),
    "vit_b_16": ("vision transformer", 32, {"image_size": 32}),
    "swin_t": ("vision transformer", 64, {}),
}  # fmt: skip


def _torchvision(name: str, kind: str, size: int, options: dict[str, Any]) -> None:
    @entry(f"torchvision/{name}", kind, "torchvision")
    def build() -> Case:
        models = importlib.import_module("torchvision.models")
        if name == "vit_b_16":
            vit = importlib.import_module("torchvision.models.vision_transformer")
            model = vit.VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=7)
        else:
            model = getattr(models, name)(num_classes=7, **options)
        return Case(model, (normal(2, 3, size, size),))


for _name, (_kind, _size, _options) in TORCHVISION.items():
    _torchvision(_name, _kind, _size, _options)


@entry("torchvision/alexnet", _CLASSIFIER, "torchvision")
def alexnet() -> Case:
    from torchvision.models import alexnet

    return Case(alexnet(num_classes=7, dropout=0.0), (normal(2, 3, 64, 64),))


@entry("torchvision/vgg11_bn features", _CLASSIFIER, "torchvision")
def vgg() -> Case:
    """Without the classifier, whose weights alone take half a gigabyte."""
    from torchvision.models import vgg11_bn

    return Case(vgg11_bn().features, (normal(2, 3, 64, 64),))


@entry("torchvision/maxvit", "vision transformer", "torchvision")
def maxvit() -> Case:
    from torchvision.models.maxvit import MaxVit

    model = MaxVit(
        input_size=(64, 64), stem_channels=8, partition_size=4, block_channels=[16, 32],
        block_layers=[1, 2], head_dim=8, stochastic_depth_prob=0.0, num_classes=7,
    )  # fmt: skip
    return Case(model, (normal(2, 3, 64, 64),), optimizer="AdamW")


@entry("torchvision/fcn_resnet50", "segmentation", "torchvision")
def fcn() -> Case:
    from torchvision.models.segmentation import fcn_resnet50

    model = fcn_resnet50(weights=None, weights_backbone=None, num_classes=3)
    return Case(model, (normal(2, 3, 32, 32),))


@entry("torchvision/deeplabv3_mobilenet_v3_large", "segmentation", "torchvision")
def deeplab() -> Case:
    from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

    model = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)
    return Case(model, (normal(2, 3, 32, 32),))


@entry("torchvision/feature pyramid network", "detection backbone", "torchvision")
def pyramid() -> Case:
    from torchvision.models import resnet18
    from torchvision.models.detection.backbone_utils import BackboneWithFPN

    layers = {"layer2": "0", "layer3": "1", "layer4": "2"}
    model = BackboneWithFPN(resnet18(num_classes=3), layers, [128, 256, 512], 32)
    return Case(model, (normal(1, 3, 64, 64),))


@entry("torchvision/r3d_18", "video", "torchvision")
def video() -> Case:
    from torchvision.models.video.resnet import BasicBlock, BasicStem, Conv3DSimple, VideoResNet

    model = VideoResNet(BasicBlock, [Conv3DSimple] * 4, [1, 1, 1, 1], BasicStem, num_classes=5)
    return Case(model, (normal(1, 3, 4, 32, 32),))


@entry("torchvision/raft_small", "optical flow", "torchvision")
def raft() -> Case:
    from torchvision.models.optical_flow import raft_small

    model = raft_small(weights=None)
    return Case(
        model, (normal(1, 3, 128, 128), normal(1, 3, 128, 128, seed=2)), {"num_flow_updates": 2}
    )


# ---- segmentation_models_pytorch


def _segmentation(name: str, options: dict[str, Any], size: int = 64) -> None:
    @entry(f"segmentation_models/{name}", "segmentation", "segmentation-models-pytorch", "timm")
    def build() -> Case:
        import segmentation_models_pytorch as smp

        model = getattr(smp, name)("resnet18", encoder_weights=None, classes=2, **options)
        return Case(model, (normal(2, 3, size, size),))


_segmentation("PAN", {}, 128)
for _name, _options in {
    "Unet": {}, "UnetPlusPlus": {}, "FPN": {"decoder_dropout": 0.0}, "Linknet": {},
    "PSPNet": {"psp_dropout": 0.0}, "DeepLabV3Plus": {"decoder_aspp_dropout": 0.0},
    "MAnet": {}, "Segformer": {},
}.items():  # fmt: skip
    _segmentation(_name, _options)


# ---- diffusers


def _diffusers(name: str, kind: str, options: dict[str, Any], inputs: Callable[[], Any]) -> None:
    @entry(f"diffusers/{name}", kind, "diffusers")
    def build() -> Case:
        import diffusers

        return Case(
            getattr(diffusers, name)(**options), keywords=inputs(), call=None, optimizer="AdamW",
            loss=lambda result: result.sample.square().mean(),
        )  # fmt: skip


_diffusers(
    "UNet2DModel", "diffusion U-Net",
    {"sample_size": 16, "in_channels": 3, "out_channels": 3, "block_out_channels": (16, 32),
     "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 8,
     "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
     "up_block_types": ("AttnUpBlock2D", "UpBlock2D")},
    lambda: {"sample": normal(2, 3, 16, 16), "timestep": integers(100, 2)},
)  # fmt: skip
_diffusers(
    "UNet2DConditionModel", "diffusion U-Net",
    {"sample_size": 16, "in_channels": 4, "out_channels": 4, "block_out_channels": (16, 32),
     "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 4,
     "cross_attention_dim": 12,
     "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
     "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")},
    lambda: {"sample": normal(2, 4, 16, 16), "timestep": integers(100, 2),
             "encoder_hidden_states": normal(2, 5, 12)},
)  # fmt: skip
_diffusers(
    "AutoencoderKL", "VAE",
    {"block_out_channels": (8, 16), "norm_num_groups": 4, "latent_channels": 4,
     "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2},
    lambda: {"sample": normal(1, 3, 16, 16), "sample_posterior": True},
)  # fmt: skip
_diffusers(
    "VQModel", "VAE",
    {"block_out_channels": (8, 16), "norm_num_groups": 4, "latent_channels": 3,
     "num_vq_embeddings": 32,
     "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2},
    lambda: {"sample": normal(1, 3, 16, 16)},
)  # fmt: skip
_diffusers(
    "DiTTransformer2DModel", "diffusion transformer",
    {"sample_size": 8, "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8,
     "in_channels": 4, "out_channels": 4, "num_embeds_ada_norm": 10, "patch_size": 2},
    lambda: {"hidden_states": normal(2, 4, 8, 8), "timestep": integers(10, 2),
             "class_labels": integers(10, 2, seed=3)},
)  # fmt: skip
_diffusers(
    "Transformer2DModel", "diffusion transformer",
    {"sample_size": 8, "num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 8,
     "in_channels": 8, "norm_num_groups": 4},
    lambda: {"hidden_states": normal(2, 8, 8, 8)},
)  # fmt: skip


# ---- lucidrains' packages


def _vit(name: str, module: str, attribute: str, options: dict[str, Any], shape: tuple[int, ...],
         kind: str = "vision transformer") -> None:  # fmt: skip
    @entry(f"vit-pytorch/{name}", kind, "vit-pytorch", "einops")
    def build() -> Case:
        made = getattr(importlib.import_module(f"vit_pytorch.{module}"), attribute)(**options)
        return Case(made, (normal(*shape),), optimizer="AdamW")


_IMAGE = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 32, "depth": 2, "heads": 2,
          "mlp_dim": 64}  # fmt: skip
_vit("ViT", "vit", "ViT", _IMAGE, (2, 3, 32, 32))
_vit("SimpleViT", "simple_vit", "SimpleViT", _IMAGE, (2, 3, 32, 32))
_vit("DeepViT", "deepvit", "DeepViT", _IMAGE, (2, 3, 32, 32))
_vit("CaiT", "cait", "CaiT", {**_IMAGE, "cls_depth": 1}, (2, 3, 32, 32))
_vit("CCT", "cct", "CCT",
     {"img_size": 32, "embedding_dim": 32, "n_conv_layers": 1, "kernel_size": 3, "stride": 2,
      "padding": 1, "num_layers": 2, "num_heads": 2, "mlp_ratio": 2.0, "num_classes": 5,
      "positional_embedding": "learnable"}, (2, 3, 32, 32))  # fmt: skip
_vit("CvT", "cvt", "CvT", {"num_classes": 5, "s1_emb_dim": 16, "s2_emb_dim": 16, "s3_emb_dim": 32,
                           "s2_depth": 1, "s3_depth": 1}, (2, 3, 32, 32))  # fmt: skip
_vit("CrossFormer", "crossformer", "CrossFormer",
     {"num_classes": 5, "dim": (32, 32, 64, 64), "depth": (1, 1, 1, 1),
      "global_window_size": (2, 2, 1, 1), "local_window_size": 2}, (2, 3, 64, 64))  # fmt: skip
_vit("NesT", "nest", "NesT", {"image_size": 32, "patch_size": 4, "dim": 16, "heads": 2,
                              "num_hierarchies": 2, "block_repeats": (1, 1), "num_classes": 5},
     (2, 3, 32, 32))  # fmt: skip
_vit("MobileViT", "mobile_vit", "MobileViT",
     {"image_size": (64, 64), "dims": [16, 24, 32], "num_classes": 5, "depths": (1, 1, 1),
      "channels": [8, 8, 12, 12, 16, 16, 20, 20, 24, 24, 32]}, (2, 3, 64, 64))  # fmt: skip
_vit("ViViT", "vivit", "ViViT",
     {"image_size": 16, "image_patch_size": 8, "frames": 4, "frame_patch_size": 2,
      "num_classes": 5, "dim": 32, "spatial_depth": 1, "temporal_depth": 1, "heads": 2,
      "mlp_dim": 64}, (2, 3, 4, 16, 16), "video")  # fmt: skip
_vit("XCiT", "xcit", "XCiT", {**_IMAGE, "cls_depth": 1, "local_patch_kernel_size": 3},
     (2, 3, 32, 32))  # fmt: skip
_vit("SimpleViT with FFT", "simple_vit_with_fft", "SimpleViT", {**_IMAGE, "freq_patch_size": 8},
     (2, 3, 32, 32))  # fmt: skip


@entry("x-transformers/decoder", "language model", "x-transformers", "einops")
def x_decoder() -> Case:
    from x_transformers import Decoder, TransformerWrapper

    layers = Decoder(dim=32, depth=2, heads=4, rotary_pos_emb=True, ff_glu=True, use_rmsnorm=True)
    return Case(
        TransformerWrapper(num_tokens=50, max_seq_len=16, attn_layers=layers),
        (integers(50, 2, 12),), optimizer="AdamW",
    )  # fmt: skip


@entry("x-transformers/encoder with ALiBi", "language model", "x-transformers", "einops")
def x_encoder() -> Case:
    from x_transformers import Encoder, TransformerWrapper

    layers = Encoder(dim=32, depth=2, heads=4, alibi_pos_bias=True, attn_qk_norm=True)
    return Case(
        TransformerWrapper(num_tokens=50, max_seq_len=16, attn_layers=layers),
        (integers(50, 2, 12),), optimizer="AdamW",
    )  # fmt: skip


@entry("denoising-diffusion-pytorch", "diffusion U-Net", "denoising-diffusion-pytorch", "einops")
def denoising() -> Case:
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet

    net = Unet(dim=16, dim_mults=(1, 2), flash_attn=False, attn_heads=2, attn_dim_head=8)
    model = GaussianDiffusion(net, image_size=16, timesteps=20)
    return Case(model, (uniform(2, 3, 16, 16),), loss=lambda result: result, optimizer="AdamW")


@entry("conformer", "audio", "conformer", "einops")
def conformer() -> Case:
    from conformer import Conformer

    return Case(Conformer(dim=16, depth=2, dim_head=8, heads=2), (normal(2, 20, 16),))


@entry("perceiver-pytorch", "vision transformer", "perceiver-pytorch", "einops")
def perceiver() -> Case:
    from perceiver_pytorch import Perceiver

    model = Perceiver(
        input_channels=3, input_axis=2, num_freq_bands=4, max_freq=8.0, depth=2, num_latents=8,
        latent_dim=16, cross_heads=1, latent_heads=2, cross_dim_head=8, latent_dim_head=8,
        num_classes=5, self_per_cross_attn=1,
    )  # fmt: skip
    return Case(model, (normal(2, 8, 8, 3),), optimizer="AdamW")


@entry("mlp-mixer-pytorch", "vision MLP", "mlp-mixer-pytorch", "einops")
def mixer() -> Case:
    from mlp_mixer_pytorch import MLPMixer

    model = MLPMixer(image_size=32, channels=3, patch_size=8, dim=32, depth=2, num_classes=5)
    return Case(model, (normal(2, 3, 32, 32),))


@entry("g-mlp-pytorch", "language model", "g-mlp-pytorch", "einops")
def gated_mlp() -> Case:
    from g_mlp_pytorch import gMLP

    return Case(gMLP(num_tokens=50, dim=32, depth=2, seq_len=16), (integers(50, 2, 16),))


@entry("vector-quantize-pytorch", "VAE", "vector-quantize-pytorch", "einops")
def quantize() -> Case:
    from vector_quantize_pytorch import FSQ

    model = importlib.import_module("torch").nn.Sequential(
        importlib.import_module("torch").nn.Linear(8, 3), FSQ([8, 5, 5])
    )
    return Case(model, (normal(2, 10, 8),))


@entry("encodec", "audio", "encodec", "torchaudio")
def encodec() -> Case:
    from encodec.modules import SEANetDecoder, SEANetEncoder

    nn = importlib.import_module("torch").nn
    shape = {"dimension": 16, "n_filters": 4, "ratios": [4, 2], "n_residual_layers": 1}
    return Case(nn.Sequential(SEANetEncoder(**shape), SEANetDecoder(**shape)), (normal(1, 1, 64),))


@entry("torchaudio/Conformer", "audio", "torchaudio")
def audio_conformer() -> Case:
    from torchaudio.models import Conformer

    model = Conformer(16, 2, 32, 2, 3)
    return Case(model, (normal(2, 12, 16), integers(1, 2) + 12))


@entry("torchaudio/ConvTasNet", "audio", "torchaudio")
def tasnet() -> Case:
    from torchaudio.models import ConvTasNet

    model = ConvTasNet(2, 8, 16, 3, 8, 16, 2, 2)
    return Case(model, (normal(2, 1, 128),))


@entry("torchaudio/Wav2Letter", "audio", "torchaudio")
def wav2letter() -> Case:
    from torchaudio.models import Wav2Letter

    return Case(Wav2Letter(num_classes=5, input_type="mfcc", num_features=8), (normal(1, 8, 64),))


@entry("torchaudio/DeepSpeech", "audio", "torchaudio")
def deepspeech() -> Case:
    from torchaudio.models import DeepSpeech

    return Case(DeepSpeech(8, n_hidden=16, n_class=5), (normal(2, 1, 12, 8),))
