// A switch in user space, for tools that are measured over a network: a TUN device in each of the network namespaces PREFIX0, PREFIX1, …, with
// address 10.77.0.1, .2, …; packets go out and come in at a rate and arrive after a latency. Nothing is dropped.
//
//   wire PREFIX NODES MBIT/S MICROSECONDS     runs until it is ended; says "ready" when the devices are up
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { most_nodes = 64, mtu = 65520 };

typedef struct packet {
  struct packet *next;
  double due;
  ssize_t size;
  char bytes[];
} packet;

static struct {
  int device;
  // When its last byte is out, and when the last byte to it is in.
  double sent, received;
  packet *first, *last;
} nodes[most_nodes];

static void require(int done, const char *what) {
  if (done) return;
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

// The device of a namespace; it stays there when this process goes back.
static int open_device(const char *prefix, int node, int home) {
  char path[256];
  snprintf(path, sizeof path, "/run/netns/%s%d", prefix, node);
  int space = open(path, O_RDONLY | O_CLOEXEC);
  require(space >= 0 && setns(space, CLONE_NEWNET) == 0, path);
  close(space);
  int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  require(device >= 0, "/dev/net/tun");
  struct ifreq request = {.ifr_name = "wire", .ifr_flags = IFF_TUN | IFF_NO_PI};
  require(ioctl(device, TUNSETIFF, &request) == 0, "TUNSETIFF");
  int any = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a4d0001u + (unsigned)node)};
  memcpy(&request.ifr_addr, &address, sizeof address);
  require(ioctl(any, SIOCSIFADDR, &request) == 0, "address");
  address.sin_addr.s_addr = htonl(0xffffff00u);
  memcpy(&request.ifr_netmask, &address, sizeof address);
  require(ioctl(any, SIOCSIFNETMASK, &request) == 0, "mask");
  request.ifr_mtu = mtu;
  require(ioctl(any, SIOCSIFMTU, &request) == 0, "MTU");
  request.ifr_qlen = 10000;
  require(ioctl(any, SIOCSIFTXQLEN, &request) == 0, "queue");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  require(ioctl(any, SIOCSIFFLAGS, &request) == 0, "up");
  close(any);
  require(setns(home, CLONE_NEWNET) == 0, "setns");
  return device;
}

int main(int count, char **arguments) {
  if (count != 5) return 64;
  int size = atoi(arguments[2]);
  double rate = atof(arguments[3]) * 1e6 / 8, latency = atof(arguments[4]) * 1e-6;
  if (size < 1 || size > most_nodes || rate <= 0) return 64;
  prctl(PR_SET_TIMERSLACK, 1);
  int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  for (int i = 0; i < size; i++) nodes[i].device = open_device(arguments[1], i, home);
  puts("ready");
  fflush(stdout);
  static char bytes[mtu];
  for (;;) {
    struct pollfd waits[most_nodes];
    double time = now(), next = time + 1;
    for (int i = 0; i < size; i++) {
      // A sender with much on its way waits, as at a real card.
      int is_full = nodes[i].sent > time + 0.002;
      waits[i] = (struct pollfd){.fd = nodes[i].device, .events = is_full ? 0 : POLLIN};
      if (is_full && nodes[i].sent - 0.001 < next) next = nodes[i].sent - 0.001;
      if (nodes[i].first && nodes[i].first->due < next) next = nodes[i].first->due;
    }
    double rest = next > time ? next - time : 0;
    struct timespec limit = {(time_t)rest, (long)((rest - (double)(time_t)rest) * 1e9)};
    ppoll(waits, (nfds_t)size, &limit, NULL);
    time = now();
    for (int i = 0; i < size; i++) {
      ssize_t got;
      while (nodes[i].sent <= time + 0.002 && (got = read(nodes[i].device, bytes, sizeof bytes)) >= 20) {
        int to = (unsigned char)bytes[19] - 1;
        if (bytes[0] >> 4 != 4 || to < 0 || to >= size) continue;
        double takes = (double)got / rate;
        nodes[i].sent = (nodes[i].sent > time ? nodes[i].sent : time) + takes;
        double arrival = nodes[i].sent + latency;
        if (arrival < nodes[to].received + takes) arrival = nodes[to].received + takes;
        nodes[to].received = arrival;
        packet *new = malloc(sizeof *new + (size_t)got);
        require(new != NULL, "memory");
        new->next = NULL;
        new->due = arrival;
        new->size = got;
        memcpy(new->bytes, bytes, (size_t)got);
        if (nodes[to].first) nodes[to].last->next = new; else nodes[to].first = new;
        nodes[to].last = new;
      }
      while (nodes[i].first && nodes[i].first->due <= time) {
        packet *due = nodes[i].first;
        if (write(nodes[i].device, due->bytes, (size_t)due->size) < 0) perror("write");
        nodes[i].first = due->next;
        free(due);
      }
    }
  }
}
