#!/usr/bin/env python3
"""KServe's own Python server with a model that adds up, for the column beside ridged's in http_table.py.

    kserve_server.py --http_port N
"""
from kserve import Model, ModelServer


class Sum(Model):
    def __init__(self):
        super().__init__("california-housing")
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        return {"predictions": [sum(row) for row in payload["instances"]]}


if __name__ == "__main__":
    ModelServer(enable_grpc=False).start([Sum()])
