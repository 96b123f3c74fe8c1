"""Corpora in an object store: a real client of S3 against a server on this machine that speaks its protocol."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pyarrow as pa
import pytest
from moto.server import ThreadedMotoServer
from pyarrow import parquet
from pydantic import ValidationError

from producers.corpus import Corpus
from producers.source_files import find_files
from shared.config import CorpusConfig
from shared.errors import UserError

TEXTS = [f"Document {number} says something about rivers, mills and wheels." for number in range(40)]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What follows the path in a URL of a bucket `web`, which holds the texts in two files and a note beside them."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="web")
        for number, part in enumerate((TEXTS[:25], TEXTS[25:])):
            file = tmp_path_factory.mktemp("parts") / "part.parquet"
            parquet.write_table(pa.table({"text": part}), file)
            client.upload_file(str(file), "web", f"crawl/{number}.parquet")
        client.put_object(Bucket="web", Key="crawl/state.json", Body=b"{}")
        client.close()
        yield f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    server.stop()


@pytest.mark.parametrize("path", ["web/crawl", "web/crawl/", "web/crawl/*.parquet", "web/**/*.parquet"])
def test_folders_and_globs_of_a_bucket_are_found(path: str, options: str) -> None:
    found = find_files(f"s3://{path}{options}")
    assert [one.name.rpartition("/")[2] for one in found] == ["0.parquet", "1.parquet"]
    assert all(one.size > 500 and not one.is_local for one in found)
    assert found[0].shown == "s3://web/crawl/0.parquet"


def test_a_bucket_reads_as_the_same_files_on_disk(tmp_path: Path, options: str) -> None:
    for number, part in enumerate((TEXTS[:25], TEXTS[25:])):
        parquet.write_table(pa.table({"text": part}), tmp_path / f"{number}.parquet")
    far, near = (Corpus.open(CorpusConfig(source=one), 0) for one in (f"s3://web/crawl{options}", str(tmp_path)))
    assert far.num_units == near.num_units
    assert [one.text for unit in range(far.num_units) for one in far.documents(unit)] == [
        one.text for unit in range(near.num_units) for one in near.documents(unit)
    ]


@pytest.mark.parametrize("source", ["s3://AKIA:hush@web/crawl", ["data/", "s3://web/crawl?secret_key=hush"]])
def test_keys_do_not_belong_into_a_job_file(source: str | list[str]) -> None:
    with pytest.raises(ValidationError, match="AWS_SECRET_ACCESS_KEY") as refused:
        CorpusConfig.model_validate({"source": source})
    assert "hush" not in refused.value.errors()[0]["msg"]


def test_a_bucket_that_is_not_there_is_named(options: str) -> None:
    with pytest.raises(UserError, match=r"corpus.source: .*s3://nowhere/crawl"):
        find_files(f"s3://nowhere/crawl{options}")
