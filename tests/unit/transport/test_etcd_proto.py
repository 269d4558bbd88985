import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from etcdplan.transport import etcd_pb2

ROOT = Path(__file__).parents[3]
PROTO = "etcdplan/transport/etcd.proto"


def test_generated_code_is_that_of_the_proto_file(tmp_path: Path) -> None:
    output = tmp_path / "set"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--descriptor_set_out={output}", PROTO],
        cwd=ROOT,
        check=True,
        timeout=60,
    )
    (fresh,) = FileDescriptorSet.FromString(output.read_bytes()).file
    for message in fresh.message_type:
        for field in message.field:
            field.ClearField("json_name")  # protoc leaves it out of Python code
    committed = FileDescriptorProto.FromString(etcd_pb2.DESCRIPTOR.serialized_pb)
    assert committed == fresh, f"regenerate the code, as {PROTO} says"
