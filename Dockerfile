# One image per program: docker build --build-arg PROGRAM=ingress .
# PROGRAM is a directory of cmd/.

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG PROGRAM
RUN test -n "$PROGRAM" || { echo "say which: --build-arg PROGRAM=ingress" >&2; exit 1; }
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/program "./cmd/$PROGRAM" \
 && mkdir /out/data \
 && cp /usr/local/go/lib/time/zoneinfo.zip /out/

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# Opening hours are kept in each tenant's time zone.
COPY --from=build /out/zoneinfo.zip /zoneinfo.zip
COPY --from=build /out/program /program
# A volume mounted here takes over the owner, so that nobody needs to be root.
COPY --from=build --chown=65532:65532 /out/data /data
ENV ZONEINFO=/zoneinfo.zip DATA_DIR=/data LISTEN_ADDR=0.0.0.0:8080
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/program"]
