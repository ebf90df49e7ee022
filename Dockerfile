# Build where the compiler is, serve where nothing else is. One image: ridged (what it starts), ridge and
# ridge-relay, with exactly the shared libraries that they load.
#
#     docker build --build-arg REVISION=$(git rev-parse --short HEAD) -t ridged .
#
# BASE: a digest makes the build the same tomorrow, as in --build-arg BASE=debian:12@sha256:...
# MODEL: the artifact that is baked in, a path in this folder (not below build/ or data/).
# SOURCE_DATE_EPOCH: the time of every file.
ARG BASE=debian:12
FROM ${BASE} AS build
# upgrade: libraries of the base go into the image too.
RUN apt-get update && apt-get upgrade -y && apt-get install -y --no-install-recommends \
        gcc make pkg-config libc6-dev libevent-dev libcjson-dev libmd-dev libopenblas-dev liblapacke-dev \
        zlib1g-dev libcurl4-openssl-dev ca-certificates
WORKDIR /src
COPY . .
ARG REVISION=unknown
RUN make -j"$(nproc)" all REVISION="$REVISION"
ARG MODEL=model/california-housing.json
ARG SOURCE_DATE_EPOCH=0
RUN make build/rootfs REVISION="$REVISION" MODEL="$MODEL"

FROM scratch
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ridged" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /src/build/rootfs /
USER 1000:1000
EXPOSE 8080 8000
ENTRYPOINT ["/usr/bin/ridged"]
