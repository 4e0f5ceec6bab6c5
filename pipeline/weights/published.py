"""The sources of the published parts of a weights folder.

Addresses and digests are from the authors' own pages or from several independent users of the same file. If no sha256
is published, the folder's index records the one computed after the download.
"""

from dataclasses import dataclass

from interlcm.weights_index import ENCODERS, PUBLISHED_VARIANTS
from pipeline.faces.yunet import YUNET_FILE

HUB = "https://huggingface.co"
# Commits, whose contents never change.
LCM_REPO, LCM_REVISION = "SimianLuo/LCM_Dreamshaper_v7", "a85df6a8bd976cdd08b4fd8f3b73f229c9e54df5"
CLIP_REPO, CLIP_REVISION = "openai/clip-vit-base-patch16", "57c216476eefef5ab752ec549e440a49ae4ae5f3"
INTERLCM = "https://github.com/sen-mao/InterLCM/releases"
INTERLCM_TAG = "v0.1.0"
YUNET_REPO, YUNET_REVISION = "opencv/face_detection_yunet", "3cc26e7f1014a5ee5d74a42acee58bafc9d0a310"
FACEXLIB = "https://github.com/xinntao/facexlib/releases"
REAL_ESRGAN = "https://github.com/xinntao/Real-ESRGAN/releases"
LPIPS = "https://github.com/richzhang/PerceptualSimilarity"
PYTORCH_FID = "https://github.com/mseitzer/pytorch-fid/releases"
IQA_PYTORCH = "https://github.com/chaofengc/IQA-PyTorch/releases"
METRICS = "metrics/"  # parts that only training and evaluation need


@dataclass(frozen=True)
class Published:
    """One published file and the part of a weights folder that it becomes.

    Args:
        path: of the part in the weights folder.
        page: web page of the file, for people.
        licence: of the file.
        url: address of the file, unless it is in a repository of the Hugging Face hub.
        other_url: second address, used if `url` answers 404.
        repo, revision, file: of a file on the hub; the revision is a commit.
        sha256: of the file, if it is published. The hub states it for its large files.
        part: the part that `convert` makes from the file; None: the file is stored unchanged.
        variant: the variant that uses the file; None: all variants.
    """

    path: str
    page: str
    licence: str
    url: str = ""
    other_url: str = ""
    repo: str = ""
    revision: str = ""
    file: str = ""
    sha256: str | None = None
    part: str | None = None
    variant: str | None = None

    @property
    def origin(self) -> str:
        return self.url or f"{HUB}/{self.repo}/resolve/{self.revision}/{self.file}"

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of a file that is not on the hub, in the order in which they are tried."""
        return (self.url, self.other_url) if self.other_url else (self.url,)

    @property
    def name(self) -> str:
        return self.origin.rsplit("/", 1)[-1]


def lcm(file: str) -> Published:
    page = f"{HUB}/{LCM_REPO}/tree/{LCM_REVISION}"
    return Published(f"lcm/{file}", page, "MIT", repo=LCM_REPO, revision=LCM_REVISION, file=file)


def encoder(part: str, variant: str) -> Published:
    """One encoder of a variant. The files of 3step, the first variant, may lack the variant's name."""
    release = f"{INTERLCM}/download/{INTERLCM_TAG}"
    return Published(
        path=f"{part}/{variant}.safetensors",
        page=f"{INTERLCM}/tag/{INTERLCM_TAG}",
        licence="CC-BY-NC-4.0",
        url=f"{release}/{part}_{variant}.pth",
        other_url=f"{release}/{part}.pth" if variant == "3step" else "",
        part=part,
        variant=variant,
    )


def face(name: str, tag: str, sha256: str) -> Published:
    url = f"{FACEXLIB}/download/{tag}/{name}"
    return Published(f"face/{name}", f"{FACEXLIB}/tag/{tag}", "MIT", url=url, sha256=sha256)


def background(name: str, tag: str, sha256: str) -> Published:
    url = f"{REAL_ESRGAN}/download/{tag}/{name}"
    return Published(f"background/{name}", f"{REAL_ESRGAN}/tag/{tag}", "BSD-3-Clause", url=url, sha256=sha256)


PUBLISHED = (
    lcm("unet/config.json"),
    lcm("unet/diffusion_pytorch_model.safetensors"),
    lcm("vae/config.json"),
    lcm("vae/diffusion_pytorch_model.safetensors"),
    lcm("scheduler/scheduler_config.json"),
    # This revision has no safetensors.
    Published(
        path="clip/model.safetensors",
        page=f"{HUB}/{CLIP_REPO}/tree/{CLIP_REVISION}",
        licence="MIT",
        repo=CLIP_REPO,
        revision=CLIP_REVISION,
        file="pytorch_model.bin",
        part="clip",
    ),
    *(encoder(part, variant) for variant in PUBLISHED_VARIANTS for part in ENCODERS),
    face(
        "detection_Resnet50_Final.pth",
        "v0.1.0",
        "6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
    ),
    face(
        "detection_mobilenet0.25_Final.pth",
        "v0.1.0",
        "2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220",
    ),
    face(
        "parsing_parsenet.pth",
        "v0.2.2",
        "3d558d8d0e42c20224f13cf5a29c79eba2d59913419f945545d8cf7b72920de2",
    ),
    face(
        "recognition_arcface_ir_se50.pth",
        "v0.1.0",
        "a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28",
    ),
    # HyperIQA's own koniq_pretrained.pkl under another name.
    face(
        "assessment_hyperIQA.pth",
        "v0.2.0",
        "ff9277bcc68ecc10e77d88b6d0a32825ec3c85562095542734ec6212eaaf6d81",
    ),
    Published(
        path=YUNET_FILE,
        page=f"{HUB}/{YUNET_REPO}",
        licence="MIT",
        repo=YUNET_REPO,
        revision=YUNET_REVISION,
        file=YUNET_FILE.removeprefix("face/"),
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    ),
    background(
        "RealESRGAN_x2plus.pth",
        "v0.2.1",
        "49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
    ),
    background(
        "RealESRGAN_x4plus.pth",
        "v0.1.0",
        "4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
    ),
    Published(
        path="metrics/vgg16-397923af.pth",
        page="https://pytorch.org/vision/stable/models/vgg.html",
        licence="BSD-3-Clause",
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
    Published(
        path="metrics/vgg.pth",
        page=f"{LPIPS}/tree/master/lpips/weights/v0.1",
        licence="BSD-2-Clause",
        url=f"{LPIPS}/raw/master/lpips/weights/v0.1/vgg.pth",
        sha256="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    ),
    Published(
        path="metrics/alignment_WFLW_4HG.pth",
        page=f"{FACEXLIB}/tag/v0.1.0",
        licence="MIT",
        url=f"{FACEXLIB}/download/v0.1.0/alignment_WFLW_4HG.pth",
        sha256="bbfd137307a4c7debd5c283b9b0ce539466cee417ac0a155e184d857f9f2899c",
    ),
    Published(
        path="metrics/pt_inception-2015-12-05-6726825d.pth",
        page=f"{PYTORCH_FID}/tag/fid_weights",
        licence="Apache-2.0",
        url=f"{PYTORCH_FID}/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
    # Google Research's weights, converted.
    Published(
        path="metrics/musiq_koniq_ckpt-e95806b9.pth",
        page=f"{IQA_PYTORCH}/tag/v0.1-weights",
        licence="Apache-2.0",
        url=f"{IQA_PYTORCH}/download/v0.1-weights/musiq_koniq_ckpt-e95806b9.pth",
        sha256="e95806b9eae5f3814c410f574ba8e552362bd5bc63d758ed5b97860f5d6185aa",
    ),
)
