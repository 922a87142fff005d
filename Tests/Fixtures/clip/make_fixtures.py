"""Two tiny CLIP models and what Transformers says about them in float64.

  python make_fixtures.py      with torch 2.13.0, Transformers 5.23.0, PEFT 0.21.2, Pillow 13.0.0, numpy, safetensors

Writes, of each case, CASE/config.json and CASE/model.safetensors (f32, random); and golden.safetensors and golden.json: the classes' texts as token ids,
their features, the logits of four images of ../images, the mean cross-entropy and its gradient for every weight of the vision tower and its
projection. `quick` also has adapters of PEFT, saved beside CLIPModel (adapter) and beside a bare CLIPVisionModel of Transformers 5
(adapter-bare), whose names lack the tower's, and the logits with them.
"""

import json
import pathlib
import shutil

import numpy as np
import torch
from PIL import Image
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPVisionModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

HERE = pathlib.Path(__file__).parent
IMAGES = ["texture.jpg", "weave.jpg", "ship.jpg", "sign.ppm"]
LABELS = [1, 0, 4, 1]
SIDE = 20
CASES = {
    # Patches of 8 leave 4 pixels of a side over; end tokens are found by the largest id.
    "quick": {
        "vision": {"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 8},
        "text": {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3, "eos_token_id": 2},
    },
    "exact": {
        "vision": {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 5,
                   "hidden_act": "gelu", "layer_norm_eps": 1e-3},
        "text": {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, "eos_token_id": 9,
                 "hidden_act": "gelu"},
    },
}


def texts(generator, eos):
    """Two texts of each of five classes: ids below 60, the end token and, in some, ids behind it."""
    rows = []
    for index in range(10):
        length = 3 + index % 5
        row = torch.randint(10, 60, (length,), generator=generator).tolist()
        tail = torch.randint(10, 60, (index % 3,), generator=generator).tolist()
        rows.append([61] + row + [eos] + tail)
    return [rows[0:2], rows[2:4], rows[4:6], rows[6:8], rows[8:10]]


def randomise(model, generator):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.rand(parameter.shape, generator=generator) * 2 - 1
            if name == "logit_scale":
                parameter.copy_(torch.tensor(2.0))
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.3 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.5 * noise)
            elif "embedding" in name:
                parameter.copy_(0.5 * noise)
            else:
                parameter.copy_((0.35 if "q_proj" in name or "k_proj" in name else 0.2) * noise)


def logits(model, pixels, classes):
    features = model.get_image_features(pixel_values=pixels).pooler_output
    features = features / features.norm(dim=-1, keepdim=True)
    return features @ classes.T * model.logit_scale.exp()


def main():
    golden, tensors = {}, {}
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    images = [Image.open(HERE.parent / "images" / name).convert("RGB") for name in IMAGES]
    pixels = torch.from_numpy(np.stack(processor(images=images, return_tensors="np")["pixel_values"])).double()
    for case, sizes in CASES.items():
        generator = torch.Generator().manual_seed(7)
        config = CLIPConfig(
            vision_config={"image_size": SIDE, **sizes["vision"]},
            text_config={"vocab_size": 64, "max_position_embeddings": 12, "bos_token_id": 61, "pad_token_id": 1, **sizes["text"]},
            projection_dim=16)
        model = CLIPModel._from_config(config, attn_implementation="eager", dtype=torch.float32)
        randomise(model, generator)
        folder = HERE / case
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        model = model.double()
        eos = 63 if sizes["text"]["eos_token_id"] == 2 else sizes["text"]["eos_token_id"]
        rows = texts(generator, eos)
        with torch.no_grad():
            features = []
            for group in rows:
                own = [model.get_text_features(input_ids=torch.tensor([row])).pooler_output[0] for row in group]
                features.append(torch.stack([x / x.norm() for x in own]))
            mean = torch.stack([x.mean(0) for x in features])
            classes = mean / mean.norm(dim=-1, keepdim=True)
        out = logits(model, pixels, classes)
        # With one text a class this is CLIPModel's own.
        ids = torch.tensor([rows[0][0], rows[5 % 5][0]])
        whole = model(input_ids=ids, pixel_values=pixels).logits_per_image
        own = logits(model, pixels, torch.stack([features[0][0], features[0][0]]))
        assert torch.allclose(whole, own, atol=1e-12), (whole, own)
        loss = torch.nn.functional.cross_entropy(out, torch.tensor(LABELS))
        loss.backward()
        tensors[f"{case}/features"] = torch.cat(features)
        tensors[f"{case}/logits"] = out.detach()
        for name, parameter in model.named_parameters():
            if name.startswith("vision_model.") or name == "visual_projection.weight":
                tensors[f"{case}/gradient/{name}"] = parameter.grad
        golden[case] = {"texts": rows, "loss": loss.item(), "parameters": sum(p.numel() for p in model.parameters())}
        if case == "quick":
            adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=6, use_rslora=True,
                                                      target_modules=r"vision_model.*\.(q_proj|out_proj|fc1|fc2)"))
            generator.manual_seed(11)
            for name, parameter in adapted.named_parameters():
                if "lora_" in name:
                    parameter.data = (torch.rand(parameter.shape, generator=generator, dtype=torch.float32) - 0.5).double()
            tensors[f"{case}/adapted"] = logits(adapted.base_model.model, pixels, classes).detach()
            save_adapter(adapted, folder / "adapter")
            bare = get_peft_model(CLIPVisionModel(config.vision_config), LoraConfig(
                r=2, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "out_proj", "fc1", "fc2"]))
            state = {name: value for name, value in adapted.named_parameters() if "lora_" in name}
            for name, parameter in bare.named_parameters():
                if "lora_" in name:
                    parameter.data = state[name.replace("base_model.model.", "base_model.model.vision_model.")].data
            save_adapter(bare, folder / "adapter-bare")
    save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()}, HERE / "golden.safetensors")
    golden["labels"] = LABELS
    golden["images"] = IMAGES
    with open(HERE / "golden.json", "w") as file:
        json.dump(golden, file, indent=1)
        file.write("\n")


def save_adapter(model, folder):
    """As PEFT saves it, in f32 and without the path of this machine."""
    model.float().save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = None
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


main()
