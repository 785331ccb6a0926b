"""From recorded sessions to a better checkpoint: data, SFT, GKD, GRPO. Torch is imported when a run starts."""

from atlas.train.config import GkdConfig, GrpoConfig, LoraConfig, OptimizerConfig, SftConfig, load_train_config
from atlas.train.encoding import Codec, Encoded, Sample, encode
from atlas.train.examples import Example, examples_of
from atlas.train.inspect import Summary, sample_text, summary, summary_text, token_lines
from atlas.train.manifest import Manifest, read_manifest
from atlas.train.places import checkpoint_folder, serving_name
from atlas.train.run import Order, Prepared, prepare, train
from atlas.train.select import Chosen, choose
from atlas.train.source import DataConfig, Read, need_examples, read_examples

__all__ = [
    "Chosen",
    "Codec",
    "DataConfig",
    "Encoded",
    "Example",
    "GkdConfig",
    "GrpoConfig",
    "LoraConfig",
    "Manifest",
    "OptimizerConfig",
    "Order",
    "Prepared",
    "Read",
    "Sample",
    "SftConfig",
    "Summary",
    "checkpoint_folder",
    "choose",
    "encode",
    "examples_of",
    "load_train_config",
    "need_examples",
    "prepare",
    "read_examples",
    "read_manifest",
    "sample_text",
    "serving_name",
    "summary",
    "summary_text",
    "token_lines",
    "train",
]
