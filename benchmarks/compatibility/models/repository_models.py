"""Models from well-known repositories, each from its own file in a checkout."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from ..catalogue import Case, entry, integers, normal, uniform
from ..places import definitions_of, module_of, package_of

# ---- language models


@entry("nanoGPT", "language model", "github:karpathy/nanoGPT")
def nano_gpt() -> Case:
    model = module_of("karpathy/nanoGPT", "model.py")
    config = model.GPTConfig(
        block_size=16, vocab_size=50, n_layer=2, n_head=2, n_embd=32, dropout=0.0
    )
    tokens = integers(50, 2, 12)
    return Case(
        model.GPT(config), (tokens,), {"targets": tokens}, loss=lambda r: r[1], optimizer="AdamW"
    )


@entry("minGPT", "language model", "github:karpathy/minGPT")
def mini_gpt() -> Case:
    module = package_of("karpathy/minGPT", "mingpt.model")
    config = module.GPT.get_default_config()
    config.model_type, config.vocab_size, config.block_size = "gpt-nano", 50, 16
    tokens = integers(50, 2, 12)
    return Case(module.GPT(config), (tokens,), {"targets": tokens}, loss=lambda r: r[1])


def _word_language_model(kind: str) -> Any:
    def build() -> Case:
        module = module_of("pytorch/examples", "word_language_model/model.py")
        model = module.RNNModel(kind, 40, 16, 16, 2, 0.0, kind == "LSTM")
        return Case(model, (integers(40, 7, 3),), call=lambda x: model(x, model.init_hidden(3)))

    return build


for _kind in ("LSTM", "GRU", "RNN_TANH"):
    entry(f"examples/word_language_model {_kind}", "recurrent language model",
          "github:pytorch/examples")(_word_language_model(_kind))  # fmt: skip


@entry("examples/word_language_model Transformer", "language model", "github:pytorch/examples")
def word_transformer() -> Case:
    module = module_of("pytorch/examples", "word_language_model/model.py")
    return Case(module.TransformerModel(40, 16, 2, 32, 2, 0.0), (integers(40, 7, 3),))


@entry("awd-lstm-lm", "recurrent language model", "github:salesforce/awd-lstm-lm")
def awd() -> Case:
    module = module_of("salesforce/awd-lstm-lm", "model.py")
    model = module.RNNModel("LSTM", 40, 16, 24, 2, 0.0, 0.0, 0.0, 0.0, 0, True)
    return Case(model, (integers(40, 7, 3),), call=lambda x: model(x, model.init_hidden(3))[0])


@entry("BERT-pytorch", "language model", "github:codertimo/BERT-pytorch")
def bert() -> Case:
    module = package_of("codertimo/BERT-pytorch", "bert_pytorch.model")
    model = module.BERTLM(module.BERT(40, 16, 2, 2, 0.0), 40)
    return Case(model, (integers(39, 2, 9) + 1, integers(2, 2, 9)))


@entry("attention-is-all-you-need", "sequence to sequence",
       "github:jadore801120/attention-is-all-you-need-pytorch")  # fmt: skip
def attention() -> Case:
    name = "jadore801120/attention-is-all-you-need-pytorch"
    module = package_of(name, "transformer.Models")
    model = module.Transformer(
        40, 40, 0, 0, d_word_vec=16, d_model=16, d_inner=32, n_layers=2, n_head=2, d_k=8, d_v=8,
        dropout=0.0, n_position=20,
    )  # fmt: skip
    return Case(model, (integers(39, 2, 9) + 1, integers(39, 2, 7, seed=2) + 1))


@entry("TCN", "sequence model", "github:locuslab/TCN")
def tcn() -> Case:
    module = module_of("locuslab/TCN", "TCN/tcn.py")
    return Case(module.TemporalConvNet(3, [8, 8, 8], 3, 0.0), (normal(2, 3, 20),))


@entry("examples/time_sequence_prediction", "sequence model", "github:pytorch/examples")
def sequence() -> Case:
    module = definitions_of("pytorch/examples", "time_sequence_prediction/train.py")
    return Case(module.Sequence().double(), (np.float64(normal(2, 8)),), optimizer="SGD")


# ---- image models


def _cifar(file: str, make: str) -> Any:
    def build() -> Case:
        module = module_of("kuangliu/pytorch-cifar", f"models/{file}.py")
        scope: dict[str, Any] = dict(vars(module))
        return Case(eval(make, scope), (normal(2, 3, 32, 32),))

    return build


for _file, _make in {
    "lenet": "LeNet()", "vgg": "VGG('VGG11')", "resnet": "ResNet18()", "preact_resnet":
    "PreActResNet18()", "googlenet": "GoogLeNet()", "densenet": "DenseNet(Bottleneck, [2,2,2,2], "
    "growth_rate=8)", "resnext": "ResNeXt([1,1,1], 4, 8)", "senet": "SENet(PreActBlock, [1,1,1,1])",
    "mobilenet": "MobileNet()", "mobilenetv2": "MobileNetV2()",
    "shufflenet": "ShuffleNetG2()", "shufflenetv2": "ShuffleNetV2(0.5)",
    "pnasnet": "PNASNetA()", "efficientnet": "EfficientNetB0()",
    "regnet": "RegNetX_200MF()", "dla_simple": "SimpleDLA()",
}.items():  # fmt: skip
    entry(f"pytorch-cifar/{_file}", "convolutional classifier",
          "github:kuangliu/pytorch-cifar")(_cifar(_file, _make))  # fmt: skip


@entry("ConvNeXt", "convolutional classifier", "github:facebookresearch/ConvNeXt", "timm")
def convnext() -> Case:
    module = module_of("facebookresearch/ConvNeXt", "models/convnext.py")
    model = module.ConvNeXt(num_classes=5, depths=[1, 1, 2, 1], dims=[8, 16, 24, 32])
    return Case(model, (normal(2, 3, 64, 64),), optimizer="AdamW")


@entry("Swin-Transformer", "vision transformer", "github:microsoft/Swin-Transformer", "timm")
def swin() -> Case:
    module = module_of("microsoft/Swin-Transformer", "models/swin_transformer.py")
    model = module.SwinTransformer(
        img_size=32, patch_size=4, num_classes=5, embed_dim=16, depths=[2, 2], num_heads=[2, 4],
        window_size=4, drop_path_rate=0.0,
    )  # fmt: skip
    return Case(model, (normal(2, 3, 32, 32),), optimizer="AdamW")


@entry("Swin-Transformer V2", "vision transformer", "github:microsoft/Swin-Transformer", "timm")
def swin2() -> Case:
    module = module_of("microsoft/Swin-Transformer", "models/swin_transformer_v2.py")
    model = module.SwinTransformerV2(
        img_size=32, patch_size=4, num_classes=5, embed_dim=16, depths=[2, 2], num_heads=[2, 4],
        window_size=4, drop_path_rate=0.0,
    )  # fmt: skip
    return Case(model, (normal(2, 3, 32, 32),), optimizer="AdamW")


@entry("MAE", "vision transformer", "github:facebookresearch/mae", "timm")
def mae() -> Case:
    module = module_of("facebookresearch/mae", "models_mae.py")
    np.float = float  # as NumPy had it then
    block = module.Block
    module.Block = lambda *args, qk_scale=None, **kwargs: block(*args, **kwargs)  # older timm
    model = module.MaskedAutoencoderViT(
        img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, decoder_embed_dim=16,
        decoder_depth=1, decoder_num_heads=2, mlp_ratio=2.0,
    )  # fmt: skip
    return Case(model, (normal(2, 3, 32, 32),), loss=lambda r: r[0], optimizer="AdamW")


@entry("DiT", "diffusion transformer", "github:facebookresearch/DiT", "timm")
def dit() -> Case:
    module = module_of("facebookresearch/DiT", "models.py")
    model = module.DiT(
        input_size=8, patch_size=2, hidden_size=32, depth=2, num_heads=2, num_classes=10,
        class_dropout_prob=0.0,
    )  # fmt: skip
    model.final_layer.linear.weight.data.add_(0.02)  # zero at the start: nothing would flow
    return Case(model, (normal(2, 4, 8, 8), integers(100, 2), integers(10, 2)), optimizer="AdamW")


@entry("CLIP", "image and text", "github:openai/CLIP")
def clip() -> Case:
    module = module_of("openai/CLIP", "clip/model.py")
    model = module.CLIP(16, 32, 2, 64, 8, 12, 40, 32, 2, 2)
    return Case(model, (normal(2, 3, 32, 32), integers(40, 2, 12)), optimizer="AdamW")


@entry("CLIP with ResNet", "image and text", "github:openai/CLIP")
def clip_resnet() -> Case:
    module = module_of("openai/CLIP", "clip/model.py")
    model = module.CLIP(16, 64, (1, 1, 1, 1), 8, None, 12, 40, 32, 2, 2)
    return Case(model, (normal(2, 3, 64, 64), integers(40, 2, 12)))


@entry("DETR", "detection", "github:facebookresearch/detr")
def detr() -> Case:
    module = module_of("facebookresearch/detr", "models/transformer.py")
    model = module.Transformer(
        d_model=16, nhead=2, num_encoder_layers=1, num_decoder_layers=1, dim_feedforward=32,
        dropout=0.0, return_intermediate_dec=True,
    )  # fmt: skip
    mask = np.zeros((2, 4, 4), bool)
    mask[1, :, 3] = True
    return Case(model, (normal(2, 16, 4, 4), mask, normal(5, 16), normal(2, 16, 4, 4)))


@entry("YOLOv5", "detection", "github:ultralytics/yolov5", "torchvision")
def yolo() -> Case:
    common = _yolo_common()
    torch = sys.modules["torch"]
    model = torch.nn.Sequential(
        common.Conv(3, 8, 6, 2, 2), common.Conv(8, 16, 3, 2), common.C3(16, 16, 1),
        common.Conv(16, 32, 3, 2), common.C3(32, 32, 2), common.SPPF(32, 32, 5),
        common.GhostConv(32, 32),
    )  # fmt: skip
    return Case(model, (normal(2, 3, 64, 64),))


def _yolo_common() -> Any:
    import torch

    names = {"math": __import__("math"), "np": np, "torch": torch, "nn": torch.nn,
             "warnings": __import__("warnings"), "Path": __import__("pathlib").Path,
             "TryExcept": lambda *args: lambda function: function,
             "smart_inference_mode": lambda *args: lambda function: function}  # fmt: skip
    # The file's other imports are about images and exported formats.
    return _classes_of("ultralytics/yolov5", "models/common.py", names)


def _classes_of(repository: str, path: str, names: dict[str, Any]) -> Any:
    import ast

    from ..places import checkout

    tree = ast.parse((checkout(repository) / path).read_text(encoding="utf-8"))
    tree.body = [n for n in tree.body if isinstance(n, (ast.ClassDef, ast.FunctionDef))]
    exec(compile(tree, path, "exec"), names)
    return SimpleNamespace(**names)


# ---- segmentation and image to image


@entry("Pytorch-UNet", "segmentation", "github:milesial/Pytorch-UNet")
def unet() -> Case:
    module = package_of("milesial/Pytorch-UNet", "unet.unet_model")
    return Case(module.UNet(3, 2, True), (normal(1, 3, 32, 32),))


@entry("pytorch-unet", "segmentation", "github:jvanvugt/pytorch-unet")
def small_unet() -> Case:
    module = module_of("jvanvugt/pytorch-unet", "unet.py")
    model = module.UNet(in_channels=3, n_classes=2, depth=3, wf=3, padding=True, batch_norm=True)
    return Case(model, (normal(2, 3, 32, 32),))


@entry("examples/super_resolution", "image to image", "github:pytorch/examples")
def super_resolution() -> Case:
    module = module_of("pytorch/examples", "super_resolution/model.py")
    return Case(module.Net(upscale_factor=3), (normal(2, 1, 12, 12),))


@entry("examples/fast_neural_style", "image to image", "github:pytorch/examples")
def style() -> Case:
    module = module_of("pytorch/examples", "fast_neural_style/neural_style/transformer_net.py")
    return Case(module.TransformerNet(), (normal(1, 3, 32, 32),))


@entry("improved-diffusion", "diffusion U-Net", "github:openai/improved-diffusion")
def diffusion() -> Case:
    module = package_of("openai/improved-diffusion", "improved_diffusion.unet")
    model = module.UNetModel(
        in_channels=3, model_channels=32, out_channels=3, num_res_blocks=1,
        attention_resolutions=(2,), channel_mult=(1, 2), num_heads=2, use_scale_shift_norm=True,
        use_checkpoint=True,
    )  # fmt: skip
    for parameter in model.parameters():
        if not parameter.data.any():  # zero at the start: nothing would flow
            parameter.data.add_(0.02)
    return Case(model, (normal(1, 3, 16, 16), integers(100, 1)), optimizer="AdamW")


# ---- generative adversarial networks


@entry("examples/dcgan", "GAN", "github:pytorch/examples")
def dcgan() -> Case:
    module = definitions_of("pytorch/examples", "dcgan/main.py", nz=10, ngf=8, ndf=8, nc=3)
    torch = sys.modules["torch"]
    model = torch.nn.ModuleDict({"g": module.Generator(1), "d": module.Discriminator(1)})
    model.apply(module.weights_init)
    return Case(model, (normal(2, 10, 1, 1),), call=lambda z: model["d"](model["g"](z)))


def _tensor(data: Any) -> Any:
    return sys.modules["torch"].FloatTensor(data)


def _gan(name: str, make: str, *inputs: Any, **names: Any) -> None:
    @entry(f"PyTorch-GAN/{name}", "GAN", "github:eriklindernoren/PyTorch-GAN", "torchvision")
    def build() -> Case:
        opt = SimpleNamespace(latent_dim=8, img_size=16, channels=1, n_classes=4, code_dim=2)
        scope = {"opt": opt, "img_shape": (1, 16, 16), **names}
        path = f"implementations/{name}/"
        if make.startswith("models."):
            module = module_of("eriklindernoren/PyTorch-GAN", path + "models.py")
        else:
            module = definitions_of("eriklindernoren/PyTorch-GAN", f"{path}{name}.py", **scope)
        model = eval(make.removeprefix("models."), vars(module))
        return Case(model, inputs)


_gan("gan", "Generator()", normal(4, 8))
_gan("cgan", "Generator()", normal(4, 8), integers(4, 4))
_gan("wgan_gp", "Discriminator()", normal(4, 1, 16, 16))
_gan("acgan", "Generator()", normal(4, 8), integers(4, 4))
_gan("began", "Discriminator()", normal(4, 1, 16, 16))
_gan("aae", "Encoder()", normal(4, 1, 16, 16), Tensor=lambda data: _tensor(data))
_gan("pix2pix", "models.Discriminator()", normal(1, 3, 32, 32), normal(1, 3, 32, 32, seed=2))
_gan("cyclegan", "models.GeneratorResNet((3, 32, 32), 1)", normal(1, 3, 32, 32))
_gan("srgan", "models.GeneratorResNet(n_residual_blocks=2)", normal(1, 3, 8, 8))
_gan("esrgan", "models.GeneratorRRDB(3, filters=8, num_res_blocks=1)", normal(1, 3, 8, 8))
_gan("stargan", "models.GeneratorResNet((3, 16, 16), 1, 5)", normal(1, 3, 16, 16), normal(1, 5))
_gan("munit", "models.Encoder(dim=8, n_residual=1, n_downsample=1, style_dim=4)",
     normal(1, 3, 16, 16))  # fmt: skip


# ---- variational autoencoders


@entry("examples/vae", "VAE", "github:pytorch/examples")
def vae() -> Case:
    module = definitions_of("pytorch/examples", "vae/main.py")
    model = module.VAE()

    def call(x: Any) -> Any:
        return module.loss_function(*((r := model(x))[0], x, r[1], r[2]))

    return Case(model, (uniform(2, 1, 28, 28),), call=call, loss=lambda r: r / 100)


def _vae(file: str, name: str, options: dict[str, Any], size: int = 64) -> None:
    @entry(f"PyTorch-VAE/{name}", "VAE", "github:AntixK/PyTorch-VAE", "torchvision")
    def build() -> Case:
        module = package_of("AntixK/PyTorch-VAE", f"models.{file}")
        model = getattr(module, name)(in_channels=3, **options)

        def call(x: Any) -> Any:
            return model.loss_function(*model(x), M_N=0.005, optimizer_idx=0, batch_idx=0)["loss"]

        return Case(model, (normal(2, 3, size, size),), call=call, loss=lambda r: r)


_SMALL = {"latent_dim": 8, "hidden_dims": [8, 16, 16, 32, 32]}
_vae("vanilla_vae", "VanillaVAE", {"latent_dim": 8})
_vae("beta_vae", "BetaVAE", {"latent_dim": 8})
_vae("wae_mmd", "WAE_MMD", {"latent_dim": 8})
_vae("vq_vae", "VQVAE", {"embedding_dim": 8, "num_embeddings": 16, "hidden_dims": [8, 16]}, 32)
_vae("dip_vae", "DIPVAE", {"latent_dim": 8})
_vae("logcosh_vae", "LogCoshVAE", {"latent_dim": 8})
_vae("swae", "SWAE", {"latent_dim": 8})
_vae("iwae", "IWAE", {"latent_dim": 8})


# ---- graphs


def _adjacency(count: int) -> Any:
    links = uniform(count, count) < 0.3
    matrix = (links | links.T | np.eye(count, dtype=bool)).astype(np.float32)
    return matrix / matrix.sum(1, keepdims=True)


@entry("pygcn", "graph network", "github:tkipf/pygcn")
def gcn() -> Case:
    module = package_of("tkipf/pygcn", "pygcn.models")
    model = module.GCN(6, 8, 3, 0.0)

    def call(x: Any, adjacency: Any) -> Any:
        return model(x, adjacency.to_sparse())

    return Case(model, (normal(10, 6), _adjacency(10)), call=call)


@entry("examples/gcn", "graph network", "github:pytorch/examples")
def gcn_example() -> Case:
    module = definitions_of("pytorch/examples", "gcn/main.py")
    model = module.GCN(6, 8, 3, True, 0.0)
    return Case(model, (normal(10, 6), _adjacency(10)))


@entry("examples/gat", "graph network", "github:pytorch/examples")
def gat_example() -> Case:
    module = definitions_of("pytorch/examples", "gat/main.py")
    model = module.GAT(in_features=6, n_hidden=8, n_heads=2, num_classes=3, dropout=0.0)
    return Case(model, (normal(10, 6), _adjacency(10)))


@entry("pyGAT", "graph network", "github:Diego999/pyGAT")
def gat() -> Case:
    module = module_of("Diego999/pyGAT", "models.py")
    return Case(module.GAT(6, 4, 3, 0.0, 0.2, 2), (normal(10, 6), _adjacency(10)))


# ---- audio


@entry("WaveNet", "audio", "github:r9y9/wavenet_vocoder")
def wavenet() -> Case:
    module = package_of("r9y9/wavenet_vocoder", "wavenet_vocoder.wavenet")
    model = module.WaveNet(
        out_channels=16, layers=4, stacks=2, residual_channels=8, gate_channels=16,
        skip_out_channels=8, kernel_size=3, dropout=0.0, cin_channels=-1, gin_channels=-1,
    )  # fmt: skip
    return Case(model, (normal(2, 16, 30),))


@entry("HiFi-GAN", "audio", "github:jik876/hifi-gan")
def hifi() -> Case:
    module = module_of("jik876/hifi-gan", "models.py")
    settings = SimpleNamespace(
        resblock="1", upsample_rates=[4, 2], upsample_kernel_sizes=[8, 4],
        upsample_initial_channel=16, resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3, 5]],
    )  # fmt: skip
    return Case(module.Generator(settings), (normal(1, 80, 8),))


@entry("HiFi-GAN period discriminator", "audio", "github:jik876/hifi-gan")
def hifi_discriminator() -> Case:
    module = module_of("jik876/hifi-gan", "models.py")
    return Case(module.DiscriminatorP(3), (normal(1, 1, 100),))


def _tacotron() -> Any:
    for name in ("librosa", "librosa.util", "librosa.filters"):  # for spectrograms, not the model
        sys.modules.setdefault(name, ModuleType(name))
    vars(sys.modules["librosa.util"]).update(pad_center=None, tiny=None, normalize=None)
    vars(sys.modules["librosa.filters"]).update(mel=None)
    return module_of("NVIDIA/tacotron2", "model.py")


@entry("Tacotron 2 encoder", "audio", "github:NVIDIA/tacotron2")
def tacotron_encoder() -> Case:
    module = _tacotron()
    settings = SimpleNamespace(
        encoder_kernel_size=5, encoder_n_convolutions=2, encoder_embedding_dim=16,
    )  # fmt: skip
    return Case(module.Encoder(settings), (normal(2, 16, 6), np.array([6, 4])))


@entry("Tacotron 2 decoder", "audio", "github:NVIDIA/tacotron2")
def tacotron_decoder() -> Case:
    """Its mask, which the source makes on a GPU by name, is made on the CPU."""
    import torch

    module = _tacotron()
    module.get_mask_from_lengths = lambda lengths: (
        torch.arange(int(lengths.max())) < lengths.unsqueeze(1)
    )
    settings = SimpleNamespace(
        n_mel_channels=5, n_frames_per_step=1, encoder_embedding_dim=12, attention_rnn_dim=14,
        decoder_rnn_dim=10, prenet_dim=6, max_decoder_steps=10, gate_threshold=0.5,
        p_attention_dropout=0.0, p_decoder_dropout=0.0, attention_dim=8,
        attention_location_n_filters=3, attention_location_kernel_size=5,
    )  # fmt: skip
    inputs = (normal(2, 7, 12), normal(2, 5, 4, seed=2), np.array([7, 4]))
    return Case(module.Decoder(settings), inputs)


@entry("Whisper", "audio", "github:openai/whisper")
def whisper() -> Case:
    import torch

    names = {
        "np": np, "torch": torch, "F": torch.nn.functional, "nn": torch.nn, "Tensor": torch.Tensor,
        "contextmanager": __import__("contextlib").contextmanager, "dataclass":
        __import__("dataclasses").dataclass, "SDPA_AVAILABLE": True,
        "scaled_dot_product_attention": torch.nn.functional.scaled_dot_product_attention,
        "transcribe_function": None, "decode_function": None, "detect_language_function": None,
        "__name__": __name__, **vars(__import__("typing")),
    }  # fmt: skip
    module = _classes_of("openai/whisper", "whisper/model.py", names)
    sizes = module.ModelDimensions(8, 10, 32, 2, 2, 40, 12, 32, 2, 2)
    return Case(module.Whisper(sizes), (normal(2, 8, 20), integers(40, 2, 6)), optimizer="AdamW")
