package main

import (
	"bufio"
	"bytes"
	"context"
	bigendian "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/protobuf/proto"
)

// followFrames speaks just enough HTTP/2 to be subscribed, and looks for the mark
// in what comes. It stands for subscribers whose processors are elsewhere.
func followFrames(ctx context.Context, address string, live func(), lags *liveLags) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := askByFrames(conn, followLog(&streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_End{End: &shared.Empty{}}})); err != nil {
		return err
	}
	const data, reset, settings, ping, away = 0, 3, 4, 6, 7
	const caughtUp = 8<<3 | 2 // the field of the answer
	mark, header, payload := []byte(liveMark), make([]byte, 9), []byte(nil)
	var rest []byte // of a message that goes on in the next frame
	for in := bufio.NewReaderSize(conn, 256<<10); ; {
		if _, err := io.ReadFull(in, header); err != nil {
			return err
		}
		length := int(header[0])<<16 | int(header[1])<<8 | int(header[2])
		if cap(payload) < length {
			payload = make([]byte, length)
		}
		payload = payload[:length]
		if _, err := io.ReadFull(in, payload); err != nil {
			return err
		}
		switch kind, ack := header[3], header[4]&1 != 0; {
		case kind == reset, kind == away:
			return errors.New("the server ends the subscription")
		case kind == settings && !ack:
			_, err = conn.Write(http2Frame(settings, 1, 0, nil))
		case kind == ping && !ack:
			_, err = conn.Write(http2Frame(ping, 1, 0, payload))
		case kind == data:
			messages := payload
			if len(rest) > 0 {
				messages = append(rest, payload...)
			}
			for len(messages) >= 5 {
				size := 5 + int(bigendian.BigEndian.Uint32(messages[1:]))
				if len(messages) < size {
					break
				}
				message := messages[5:size]
				messages = messages[size:]
				if len(message) > 0 && message[0] == caughtUp {
					live()
					live = func() {}
				} else if at := bytes.Index(message, mark); at >= 0 && lags.saw(bigendian.BigEndian.Uint64(message[at+len(mark):])) {
					return nil
				}
			}
			rest = append(rest[:0:0], messages...)
		}
		if err != nil {
			return err
		}
	}
}

// askByFrames sends one request of Streams.Read, with windows that are never
// full.
func askByFrames(conn net.Conn, request proto.Message) error {
	const data, headers, settings, window = 0, 1, 4, 8
	message, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	const widest = 1<<31 - 1
	out := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	out = append(out, http2Frame(settings, 0, 0, bigendian.BigEndian.AppendUint32([]byte{0, 4}, widest))...)
	out = append(out, http2Frame(window, 0, 0, bigendian.BigEndian.AppendUint32(nil, widest-65535))...)
	var block []byte
	for _, field := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", streams.Streams_Read_FullMethodName}, {":authority", "localhost"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		block = append(block, 0, byte(len(field[0]))) // literal, not indexed, not packed
		block = append(block, field[0]...)
		block = append(block, byte(len(field[1])))
		block = append(block, field[1]...)
	}
	out = append(out, http2Frame(headers, 4, 1, block)...)
	out = append(out, http2Frame(data, 1, 1, append(bigendian.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...))...)
	if _, err := conn.Write(out); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	return nil
}

func http2Frame(kind, flags byte, stream uint32, payload []byte) []byte {
	out := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(bigendian.BigEndian.AppendUint32(out, stream), payload...)
}
