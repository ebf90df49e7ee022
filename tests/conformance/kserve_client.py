#!/usr/bin/env python3
"""Asks ridged with KServe's own client, InferenceRESTClient over V1: live, ready, predict, explain, and its
errors, which it has to be able to read.

    kserve_client.py [--ridged build/ridged]

Runs in the environment that kserve_env.sh makes. ridged is started here on a free port and stopped.
"""
import argparse
import asyncio
import importlib.metadata
import json
import math
import subprocess
import sys

import httpx
from kserve import InferenceRESTClient, RESTConfig

MODEL = "california-housing"
ROW = [8.3252, 41.0, 6.984, 1.0238, 322.0, 2.5556, 37.88, -122.23]
NAMES = ["MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude"]


def start(program):
    process = subprocess.Popen(
        [program, "--model_dir=model/california-housing.json", "--http_port=0", "--metrics_port=0",
         "--host=127.0.0.1", "--drain_delay=0"], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        event = json.loads(line)
        if event["event"] == "ready":
            return process, f"http://127.0.0.1:{event['http_port']}"
    sys.exit(f"{program}: ended before it was ready")


async def fails(call, status, text):
    """The client raises with the status and with what ridged wrote under "error"."""
    try:
        await call
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == status, error
        assert str(error).startswith(text), error
        return
    raise AssertionError(f"expected {status}")


async def is_live(client, base):
    assert await client.is_server_live(base) is True


async def is_ready(client, base):
    assert await client.is_model_ready(base, MODEL) is True


async def predicts(client, base):
    answer = await client.infer(base, {"instances": [ROW, ROW]}, MODEL)
    assert list(answer) == ["predictions"], answer
    first, second = answer["predictions"]
    assert first == second and math.isfinite(first), answer


async def predicts_inputs_and_rows_by_name(client, base):
    lists = await client.infer(base, {"inputs": [ROW]}, MODEL)
    names = await client.infer(base, {"instances": [dict(zip(NAMES, ROW))]}, MODEL)
    assert lists == names, (lists, names)


async def returns_the_request_id(client, base):
    headers = {}
    await client.infer(base, {"instances": [ROW]}, MODEL, headers={"x-request-id": "mine"},
                       response_headers=headers)
    assert headers["x-request-id"] == "mine" and headers["content-type"] == "application/json", headers


async def explains_or_says_that_the_model_cannot(client, base):
    try:
        answer = await client.explain(base, MODEL, {"instances": [ROW]})
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == 501, error
        assert str(error).startswith(f"Model with name {MODEL} cannot explain: "), error
        return
    explanation = answer["explanations"][0]
    total = explanation["base"] + sum(explanation["attributions"].values())
    assert abs(total - explanation["prediction"]) < 1e-9, answer


async def an_unknown_model_is_404_in_kserves_words(client, base):
    text = "Model with name nobody does not exist., '404 Not Found'"
    await fails(client.infer(base, {"instances": [ROW]}, "nobody"), 404, text)
    await fails(client.explain(base, "nobody", {"instances": [ROW]}), 404, text)
    await fails(client.is_model_ready(base, "nobody"), 404, text)


async def a_bad_request_is_400_and_names_the_cell(client, base):
    await fails(client.infer(base, {"instances": [ROW[:7]]}, MODEL), 400,
                "instances[0]: expected 8 numbers, got 7, '400 Bad Request'")
    await fails(client.infer(base, {"instances": "x"}, MODEL), 400,
                'Expected "instances" to be a list, \'400 Bad Request\'')
    await fails(client.infer(base, "{", MODEL), 400, "Unrecognized request format: ")


CHECKS = [is_live, is_ready, predicts, predicts_inputs_and_rows_by_name, returns_the_request_id,
          explains_or_says_that_the_model_cannot, an_unknown_model_is_404_in_kserves_words,
          a_bad_request_is_400_and_names_the_cell]


async def run(base):
    failures = 0
    for check in CHECKS:
        client = InferenceRESTClient(RESTConfig(protocol="v1"))
        try:
            await check(client, base)
            print(f"[       OK ] {check.__name__}")
        except Exception as error:  # whatever it is, the others are still run
            failures += 1
            print(f"[  FAILED  ] {check.__name__}: {type(error).__name__}: {error}")
        await client.close()
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ridged", default="build/ridged")
    process, base = start(parser.parse_args().ridged)
    try:
        failures = asyncio.run(run(base))
    finally:
        process.terminate()
        code = process.wait(timeout=30)
    print(f"kserve {importlib.metadata.version('kserve')}: {len(CHECKS) - failures} of {len(CHECKS)} passed")
    sys.exit(1 if failures or code else 0)


if __name__ == "__main__":
    main()
