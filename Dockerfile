# Build where the compiler is, serve where nothing else is.
FROM debian:12 AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
        gcc make pkg-config libc6-dev libevent-dev libcjson-dev libmd-dev libopenblas-dev liblapacke-dev \
        zlib1g-dev libcurl4-openssl-dev ca-certificates
WORKDIR /src
COPY . .
ARG REVISION=unknown
# For an image that trains: --build-arg PROGRAMS=ridge
ARG PROGRAMS=ridged
RUN make build/rootfs PROGRAMS="$PROGRAMS" REVISION="$REVISION"

FROM scratch
COPY --from=build /src/build/rootfs /
USER 1000:1000
EXPOSE 8080 8000
ENTRYPOINT ["/usr/bin/ridged"]
