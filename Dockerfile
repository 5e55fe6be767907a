# docket, and nothing else: one static binary on an empty image.
FROM golang:1.26.0-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /out/docket ./cmd/docket \
 && mkdir /out/data /out/tmp

FROM scratch
# For connections with TLS whose authority is a public one.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/docket /bin/docket
# An empty volume takes over the owner of the folder it is mounted on.
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build --chown=65532:65532 /out/tmp /tmp
ENV PATH=/bin
USER 65532:65532
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --retries=12 --start-period=1m CMD ["docket", "ready", "--data", "/data"]
ENTRYPOINT ["docket"]
# Without --keys docket speaks to its own machine alone, which is the container.
CMD ["serve", "--data", "/data"]
