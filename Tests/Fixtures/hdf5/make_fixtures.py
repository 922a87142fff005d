"""Gradient files as h5py writes them, one for each way of storing that gora's reader knows (h5py 3.16 with HDF5 2.0, and h5repack).

Each holds `/gradients/w` of f32 whose element (i, j) is i · columns + j, and whatever its name says; run here:
python make_fixtures.py
"""
import subprocess

import h5py
import hdf5plugin
import numpy as np

EARLIEST, LATEST, V18, V110 = ("earliest", "v108"), ("latest", "latest"), ("v108", "v108"), ("v110", "v110")


def matrix(rows, columns, dtype="<f4"):
    return np.arange(rows * columns, dtype=np.float32).reshape(rows, columns).astype(dtype)


def make(name, rows=12, columns=10, libver=V110, dtype="<f4", names=("w",), attributes=0, text=str, **options):
    arguments = {"userblock_size": options.pop("userblock")} if "userblock" in options else {}
    early = options.pop("early", False)
    compact = options.pop("compact", False)
    with h5py.File(f"{name}.h5", "w", libver=libver, **arguments) as file:
        file.attrs["format"] = text("gora-gradients")
        file.attrs["format_version"] = np.int32(1)
        file.attrs["complete"] = np.uint8(1)
        file.attrs["model"] = "model π"
        for i in range(attributes):
            file.attrs[f"attribute {i}"] = "x" * (70000 if i == 3 else i)
        group = file.create_group("gradients")
        for w in names:
            values = matrix(rows, columns, dtype)
            if early or compact:
                plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                if early:
                    plist.set_chunk(options["chunks"])
                    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
                else:
                    plist.set_layout(h5py.h5d.COMPACT)
                space = h5py.h5s.create_simple(values.shape)
                dataset = h5py.h5d.create(group.id, w.encode(), h5py.h5t.py_create(values.dtype), space, plist)
                dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
            else:
                group.create_dataset(w, data=values, **options)


many = [f"layer {i}" for i in range(40)] + ["w"]
filters = dict(compression="gzip", shuffle=True, fletcher32=True)
make("earliest", libver=EARLIEST, names=many, rows=3, columns=2)
make("earliest-chunks", libver=EARLIEST, chunks=(5, 3), maxshape=(None, None), **filters)
make("userblock", libver=EARLIEST, userblock=512)
make("v18-attributes", libver=V18, attributes=12, names=many, rows=3, columns=2)
make("v18-bytes", libver=V18, text=np.bytes_, dtype=">f4", chunks=(4, 10), compression="gzip")
make("contiguous")
make("compact", compact=True)
make("zstd", chunks=(5, 4), **hdf5plugin.Zstd())
make("single-chunk", chunks=(12, 10), **filters)
make("implicit", chunks=(5, 4), early=True)
make("fixed-array", chunks=(5, 4), **filters)
make("fixed-array-limits", chunks=(5, 4), maxshape=(30, 30))
make("fixed-array-pages", rows=40, columns=40, chunks=(1, 1))
make("b-tree", chunks=(1, 1), maxshape=(None, None))
make("b-tree-filters", rows=30, columns=30, chunks=(1, 1), maxshape=(None, None), compression="gzip")
make("extensible-array", chunks=(5, 4), maxshape=(None, 10))
make("extensible-array-columns", rows=40, columns=20, chunks=(2, 1), maxshape=(60, None), **filters)
make("extensible-array-pages", rows=6000, columns=1, chunks=(2, 1), maxshape=(None, 1))
make("latest", libver=LATEST, names=many, rows=3, columns=2)
make("latest-chunks", libver=LATEST, chunks=(5, 4), **filters)
make("gzip-noise", libver=V18, chunks=(1, 1), compression="gzip")
subprocess.run(["h5repack", "-f", "SHUF", "-f", "GZIP=4", "-l", "CHUNK=5x4", "contiguous.h5", "repacked.h5"], check=True)
