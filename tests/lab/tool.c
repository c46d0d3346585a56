/* The one program of the test images: pause | exit N | cat FILE. Static, so that an image needs nothing else. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void leave(int signal) { _exit(128 + signal); }

int main(int count, char **words) {
  const char *verb = count > 1 ? words[1] : "pause";
  /* As PID 1 of a container it would ignore both. */
  signal(SIGTERM, leave);
  signal(SIGINT, leave);
  if (!strcmp(verb, "exit")) return count > 2 ? atoi(words[2]) : 0;
  if (!strcmp(verb, "cat")) {
    FILE *file = fopen(count > 2 ? words[2] : "", "r");
    if (!file) return 1;
    for (int c; (c = getc(file)) != EOF;) putchar(c);
    return 0;
  }
  if (strcmp(verb, "pause")) return 2;
  for (;;) pause();
}
