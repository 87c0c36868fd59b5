"""What Windlass writes, read by PyTorch, and what PyTorch writes for Windlass.

Runs inside a system that has PyTorch (tests/interop/run makes one):

  interop.py make DIR    writes DIR/in/all.safetensors, and checkpoints of PyTorch's
                         under DIR/given with what they hold in DIR/expected
  interop.py check DIR   reads what was converted meanwhile into DIR/out, and
                         holds it against DIR/in/all.safetensors and DIR/expected
"""

import glob
import json
import os
import struct
import sys
import zipfile

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions, get_optimizer_state_dict, set_optimizer_state_dict)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

# As safetensors names them; what this PyTorch does not have is left out.
DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16",
    "U16": "uint16", "I32": "int32", "U32": "uint32", "I64": "int64",
    "U64": "uint64", "F16": "float16", "BF16": "bfloat16", "F32": "float32",
    "F64": "float64", "C64": "complex64", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
DTYPES = {name: getattr(torch, torch_name)
          for name, torch_name in DTYPES.items() if hasattr(torch, torch_name)}


def to_bytes(tensor):
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def read(path):
    """A safetensors file; Debian's library does not know all dtypes."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        dtype = DTYPES[entry["dtype"]]
        flat = torch.empty(0, dtype=dtype)
        if end > begin:
            flat = torch.frombuffer(bytearray(data[begin:end]), dtype=dtype)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def write(path, tensors):
    names = {dtype: name for name, dtype in DTYPES.items()}
    header, data = {}, b""
    for name, tensor in sorted(tensors.items(),
                               key=lambda item: -item[1].element_size()):
        begin = len(data)
        data += to_bytes(tensor)
        header[name] = {"dtype": names[tensor.dtype],
                        "shape": list(tensor.shape),
                        "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def read_folder(folder):
    tensors = {}
    for path in sorted(glob.glob(folder + "/*.safetensors")):
        tensors.update(read(path))
    return tensors


def expect_same(what, found, expected):
    assert set(found) == set(expected), (what, set(found) ^ set(expected))
    for name, tensor in expected.items():
        other = found[name]
        assert other.dtype == tensor.dtype, (what, name, other.dtype)
        assert other.shape == tensor.shape, (what, name, other.shape)
        assert to_bytes(other) == to_bytes(tensor), (what, name)
    print("same:", what)


def all_kinds():
    torch.manual_seed(1)
    tensors = {}
    for name, dtype in DTYPES.items():
        raw = torch.randint(0, 2 if name == "BOOL" else 120, (7 * 3 * 8,),
                            dtype=torch.uint8)
        tensors["of." + name] = raw.view(dtype)[:21].reshape(7, 3).clone()
    tensors["scalar"] = torch.tensor(3.5)
    tensors["empty"] = torch.zeros(0, 4)
    tensors["large"] = torch.randn(1500, 1000)
    tensors["deep"] = torch.randn(2, 1, 3, 5)
    tensors['odd "name" \u00e9\n'] = torch.arange(7)
    return tensors


def in_ranks(count, work, folder):
    store = folder + "/store"
    if os.path.exists(store):
        os.remove(store)
    mp.start_processes(run_rank, (count, work, folder), nprocs=count,
                       start_method="spawn")


def run_rank(rank, count, work, folder):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/store",
                            rank=rank, world_size=count)
    work(folder)
    dist.barrier()
    # Taking the group apart can wait for ever: its thread may need Python's lock
    # to let go of a tensor, and who waits for that thread has it.
    sys.stdout.flush()
    os._exit(0)


# 2 x 2 ranks; uneven, replicated, sharded twice.
def placements():
    return {"rows": [Shard(0), Shard(0)], "both": [Shard(0), Shard(1)],
            "columns": [Replicate(), Shard(1)],
            "everywhere": [Replicate(), Replicate()]}


def whole_of(name):
    torch.manual_seed(len(name))
    return torch.randn(13, 11)


def save_ranks(folder):
    mesh = init_device_mesh("cpu", (2, 2))
    dcp.save({"model": {name: distribute_tensor(whole_of(name), mesh, placement)
                        for name, placement in placements().items()}},
             checkpoint_id=folder + "/given/ranks")


EXPERTS = {"architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 8,
           "num_experts": 4, "moe_intermediate_size": 6, "dtype": "bfloat16"}


def native_model():
    """A mixture's parameters under their native names."""
    shapes = {"model.embed_tokens.weight": (16, 8), "model.norm.weight": (8,),
              "model.layers.0.mlp.gate.weight": (4, 8),
              "model.layers.0.mlp.experts.gate_and_up_projs": (4, 8, 12),
              "model.layers.0.mlp.experts.down_projs": (4, 6, 8)}
    model = torch.nn.Module()
    for name, shape in shapes.items():
        module = model
        *path, last = name.split(".")
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, torch.nn.Module())
            module = getattr(module, part)
        module.register_parameter(
            last, torch.nn.Parameter(torch.randn(shape, dtype=torch.float32)))
    return model


def adam(model, lr):
    return torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.8, 0.9),
                             amsgrad=True)


def optimizer_state(model, optimizer):
    return get_optimizer_state_dict(
        model, optimizer,
        options=StateDictOptions(flatten_optimizer_state_dict=True))


def save_optimizer(folder):
    torch.manual_seed(2)
    model = native_model()
    optimizer = adam(model, 0.25)
    for _ in range(3):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    state = optimizer_state(model, optimizer)
    dcp.save({"optim": state}, checkpoint_id=folder + "/in/optim")
    torch.save(state, folder + "/in/optim.pt")
    with open(folder + "/in/config.json", "w") as file:
        json.dump(EXPERTS, file)


def check_optimizer(folder):
    """What went to HF's layout and came back is what AdamW had."""
    expected = torch.load(folder + "/in/optim.pt", weights_only=True)
    model = native_model()
    optimizer = adam(model, 0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    found = {"optim": optimizer_state(model, optimizer)}
    dcp.load(found, checkpoint_id=folder + "/out/optim_native")
    set_optimizer_state_dict(
        model, optimizer, found["optim"],
        options=StateDictOptions(flatten_optimizer_state_dict=True))
    assert optimizer.param_groups[0]["lr"] == 0.25, optimizer.param_groups
    found = optimizer_state(model, optimizer)
    tensors = [{name: value for name, value in state.items()
                if isinstance(value, torch.Tensor)}
               for state in (found, expected)]
    assert len(tensors[1]) == 20, list(tensors[1])
    expect_same("AdamW's state, to HF and back", *tensors)
    for name, value in expected.items():
        if name not in tensors[1]:
            assert found[name] == value, (name, found[name], value)
    hf = FileSystemReader(folder + "/out/optim_hf").read_metadata()
    name = "optim.state.model.layers.0.mlp.experts.3.up_proj.weight.exp_avg"
    assert hf.state_dict_metadata[name].size == (6, 8), name


def make(folder):
    given, expected = folder + "/given", folder + "/expected"
    os.makedirs(folder + "/in")
    os.makedirs(given)
    os.makedirs(expected)
    tensors = all_kinds()
    write(folder + "/in/all.safetensors", tensors)
    torch.save(tensors, given + "/zip.pt")
    write(expected + "/zip.pt", tensors)
    legacy = {name: tensor for name, tensor in tensors.items()
              if name.split(".")[-1] not in ("U16", "U32", "U64")
              and not name.startswith("of.F8")}
    torch.save(legacy, given + "/legacy.pth",
               _use_new_zipfile_serialization=False)
    write(expected + "/legacy.pth", legacy)
    base = torch.randn(6, 8)
    views = {"whole": base, "columns": base[:, 2:5], "turned": base.t(),
             "rows": base[1:3]}
    torch.save({"state_dict": views, "epoch": 3}, given + "/views.bin")
    write(expected + "/views.bin", views)
    dcp.save(dict(tensors), checkpoint_id=given + "/one_rank")
    write(expected + "/one_rank", tensors)
    save_optimizer(folder)
    in_ranks(4, save_ranks, folder)
    write(expected + "/ranks",
          {"model." + name: whole_of(name) for name in placements()})


def check_zip(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None, path
        for info in archive.infolist():
            archive.fp.seek(info.header_offset + 26)
            name, extra = struct.unpack("<HH", archive.fp.read(4))
            assert (info.header_offset + 30 + name + extra) % 64 == 0, info
            archive.open(info).read()


def load_ranks(folder):
    """Three ranks load what two wrote, each its own part."""
    mesh = init_device_mesh("cpu", (3,))
    expected = read(folder + "/in/all.safetensors")
    state = {}
    for name in ("large", "deep", "of.BF16", "of.I64"):
        state[name] = distribute_tensor(torch.zeros_like(expected[name]), mesh,
                                        [Shard(0)])
    state["scalar"] = torch.zeros(())
    dcp.load(state, checkpoint_id=folder + "/out/dcp_2")
    found = {name: tensor.full_tensor() if hasattr(tensor, "full_tensor")
             else tensor for name, tensor in state.items()}
    if dist.get_rank() == 0:
        expect_same("dcp.load on three ranks", found,
                    {name: expected[name] for name in state})


def check(folder):
    expected, out = read(folder + "/in/all.safetensors"), folder + "/out"
    for path in (out + "/one.pt", out + "/torch/pytorch_model.bin"):
        check_zip(path)
        for mmap in (False, True):
            expect_same(f"torch.load({os.path.basename(path)}, mmap={mmap})",
                        torch.load(path, weights_only=True, mmap=mmap), expected)
    index = json.load(open(out + "/torch_shards/pytorch_model.bin.index.json"))
    found = {}
    for path in sorted(glob.glob(out + "/torch_shards/*.bin")):
        check_zip(path)
        part = torch.load(path, weights_only=True)
        for name in part:
            assert index["weight_map"][name] == os.path.basename(path), name
        found.update(part)
    expect_same("numbered files", found, expected)
    for ranks in (1, 2, 7):
        source = f"{out}/dcp_{ranks}"
        dcp_to_torch_save(source, folder + "/all.pt")
        expect_same(f"dcp_to_torch_save, written for {ranks}",
                    torch.load(folder + "/all.pt", weights_only=True), expected)
        state = {name: torch.zeros_like(tensor)
                 for name, tensor in expected.items()}
        dcp.load(state, checkpoint_id=source)
        expect_same(f"dcp.load, written for {ranks}", state, expected)
    in_ranks(3, load_ranks, folder)
    check_optimizer(folder)
    for name in sorted(os.listdir(folder + "/expected")):
        expect_same("given " + name, read_folder(f"{out}/given_{name}"),
                    read(f"{folder}/expected/{name}"))


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2])
