# Build where the compiler is, serve where it is not.
FROM debian:12 AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
        gcc make pkg-config libc6-dev libevent-dev libcjson-dev libmd-dev libopenblas-dev liblapacke-dev \
        zlib1g-dev
WORKDIR /src
COPY . .
ARG REVISION=unknown
RUN make build/ridge build/ridged REVISION="$REVISION"

# docker build --target training: the model tool, for k8s/training/.
FROM debian:12-slim AS training
RUN apt-get update && apt-get install -y --no-install-recommends \
        libcjson1 libmd0 libopenblas0-pthread liblapacke && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/build/ridge /usr/bin/ridge
USER 1000
CMD ["/usr/bin/ridge", "--help"]

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
        libevent-core-2.1-7 libcjson1 libmd0 zlib1g && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/build/ridged /usr/bin/ridged
COPY model/california-housing.json /mnt/models/model.json
USER 1000
EXPOSE 8080 8000
ENTRYPOINT ["/usr/bin/ridged"]
