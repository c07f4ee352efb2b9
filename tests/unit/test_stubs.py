"""The stubs of other people's protocols, beside those people's own packages."""

import subprocess
import sys

CLASH = """
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import Default

for name in ("common", "audio", "asr"):
    theirs = FileDescriptorProto(name=f"riva/proto/riva_{name}.proto", package="nvidia.riva")
    theirs.message_type.add(name=f"OfAnotherRelease{name}")
    Default().Add(theirs)
from stt.nvidia_riva import riva_asr_pb2
from stt.v1 import stt_pb2

print(riva_asr_pb2.RecognizeRequest(audio=b"x").audio, stt_pb2.Flush(flush_id="y").flush_id)
"""


def test_another_release_of_nvidias_files_may_be_in_the_same_process() -> None:
    ran = subprocess.run([sys.executable, "-c", CLASH], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("b'x' y\n", "")
